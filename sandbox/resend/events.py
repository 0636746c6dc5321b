"""What becomes of an accepted mail, told by Svix-signed events."""

import base64
import hashlib
import hmac
import random
import secrets
import sqlite3
import string
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from sandbox.clock import utc_millis
from sandbox.outbox import RESEND, Delivery, enqueue
from sandbox.world import World

Body = dict[str, Any]
# outcome of a recipient -> the events of its mail, in order
COURSES = {
    "delivered": ("email.sent", "email.delivered"),
    "bounced": ("email.sent", "email.bounced"),
    "complained": ("email.sent", "email.delivered", "email.complained"),
    "suppressed": ("email.suppressed",),
}
TYPES = frozenset(
    {
        *("email.sent", "email.scheduled", "email.delivered", "email.delivery_delayed"),
        *("email.complained", "email.bounced", "email.opened", "email.clicked"),
        *("email.received", "email.failed", "email.suppressed"),
        *("suppression.added", "suppression.removed"),
    }
)
_SEVERITY = ("delivered", "suppressed", "complained", "bounced")
_LETTERS = string.ascii_letters + string.digits
_BOUNCE: Body = {
    "diagnosticCode": ["smtp; 550 5.1.1 The email account that you tried to reach does not exist"],
    "message": "The recipient's email provider sent a hard bounce message.",
    "subType": "General",
    "type": "Permanent",
}
_SUPPRESSED: Body = {
    "message": "Resend has suppressed sending to this address because it is on the account-level "
    "suppression list. This does not count toward your bounce rate metric",
    "type": "OnAccountSuppressionList",
}
_EXTRAS = {"email.bounced": {"bounce": _BOUNCE}, "email.suppressed": {"suppressed": _SUPPRESSED}}


def signer(secret: str) -> Callable[[str, bytes, float], Mapping[str, str]]:
    """Signs `{id}.{timestamp}.{body}` as Svix does; every attempt has its own timestamp."""
    key = base64.b64decode(secret.removeprefix("whsec_"))

    def sign(message_id: str, body: bytes, now: float) -> Mapping[str, str]:
        stamp = str(int(now))
        digest = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
        return {
            "svix-id": message_id,
            "svix-timestamp": stamp,
            "svix-signature": "v1," + base64.b64encode(digest).decode(),
        }

    return sign


def outcome_of(db: sqlite3.Connection, address: str) -> str:
    """What becomes of a mail to the (plain) address: a key of COURSES.

    Resend's test addresses say it by their name (a `+label` is allowed but for suppressed@);
    the rest are delivered unless the address is on the suppression list.
    """
    name, _, domain = address.partition("@")
    if domain == "resend.dev":
        if name == "suppressed":
            return "suppressed"
        if name.partition("+")[0] in {"bounced", "complained"}:
            found = db.execute("select 1 from suppressions where email = ?", [address]).fetchone()
            return "suppressed" if found else name.partition("+")[0]
    found = db.execute("select 1 from suppressions where email = ?", [address]).fetchone()
    return "suppressed" if found else "delivered"


def suppress(
    db: sqlite3.Connection,
    world: World,
    address: str,
    *,
    outcome: str,
    email_id: str,
    begin: float,
    now: float,
) -> None:
    """Hard bounces and complaints put an address on the account's suppression list, which is told
    after what led to it.
    """
    origin = {"bounced": "bounce", "complained": "complaint"}.get(outcome)
    known = db.execute("select 1 from suppressions where email = ?", [address]).fetchone()
    if origin and not known:
        row = suppressed_now(db, address, origin=origin, source=email_id, now=now)
        at = begin + 1.25 * world.faults["resend_event_delay_seconds"]
        tell_list(db, world, "suppression.added", row, at=at, now=now)


def suppressed_now(
    db: sqlite3.Connection, address: str, *, origin: str, source: str | None, now: float
) -> sqlite3.Row:
    row: sqlite3.Row = db.execute(
        "insert into suppressions (email, id, origin, source_id, created_at)"
        " values (?, ?, ?, ?, ?) returning *",
        [address, str(uuid.uuid4()), origin, source, now],
    ).fetchone()
    return row


def tell_list(
    db: sqlite3.Connection,
    world: World,
    type_: str,
    row: sqlite3.Row,
    *,
    now: float,
    at: float | None = None,
) -> None:
    """The account's list changed."""
    data = {name: row[name] for name in ("id", "email", "origin", "source_id")}
    payload = {
        "type": type_,
        "created_at": utc_millis(now),
        "data": {**data, "created_at": utc_millis(row["created_at"])},
    }
    _enqueue(
        db, world, type_, "msg_" + _random_text(27), orjson.dumps(payload), at=at or now, now=now
    )


def tell(
    db: sqlite3.Connection,
    world: World,
    mail: Body,
    outcomes: list[str],
    *,
    seq: int,
    begin: float,
    now: float,
) -> None:
    """Records the events of a mail and queues them for the account's webhooks; of several outcomes
    the worst. `begin` is when the mail leaves.

    `mail`: created_at, email_id, message_id, from, to, subject, tags of the event's data.
    """
    worst = max(outcomes, key=_SEVERITY.index)
    delay = world.faults["resend_event_delay_seconds"]
    for place, type_ in enumerate(COURSES[worst]):
        at = begin + delay * (place + 1) / len(COURSES[worst])
        tell_one(db, world, type_, {**mail, **_EXTRAS.get(type_, {})}, seq=seq, at=at, now=now)


def tell_one(
    db: sqlite3.Connection, world: World, type_: str, data: Body, *, seq: int, at: float, now: float
) -> None:
    """One event of a mail, on record and on its way."""
    payload = {"type": type_, "created_at": utc_millis(at), "data": data}
    body, event_id = orjson.dumps(payload), "msg_" + _random_text(27)
    db.execute(
        "insert into email_events (id, email, type, at, payload) values (?, ?, ?, ?, ?)",
        [event_id, seq, type_, at, body],
    )
    _enqueue(db, world, type_, event_id, body, at=at, now=now)


def _enqueue(
    db: sqlite3.Connection,
    world: World,
    type_: str,
    event_id: str,
    body: bytes,
    *,
    at: float,
    now: float,
) -> None:
    """To every webhook that wants it, as often as the knob says, in disorder if it says so."""
    longest = world.faults["resend_event_shuffle_seconds"]
    for url in _endpoints(db, world, type_):
        for _ in range(world.faults["resend_event_copies"]):
            delivery = Delivery(
                channel=RESEND,
                url=url,
                topic=type_,
                message_id=event_id,
                body=body,
                at=at + random.uniform(0, longest),
                headers={"Content-Type": "application/json", "User-Agent": "Svix-Webhooks/1.0"},
            )
            enqueue(db, delivery, now=now)


def _endpoints(db: sqlite3.Connection, world: World, type_: str) -> list[str]:
    made = db.execute("select endpoint, events from resend_webhooks").fetchall()
    wanting = [row["endpoint"] for row in made if type_ in orjson.loads(row["events"])]
    own = world.config.resend_webhook_url
    return list(dict.fromkeys([*([own] if own else []), *wanting]))


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
