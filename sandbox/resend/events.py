"""What becomes of an accepted mail, told by Svix-signed events."""

import base64
import hashlib
import hmac
import secrets
import sqlite3
import string
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from sandbox.clock import utc_millis
from sandbox.outbox import RESEND, Delivery, enqueue

Body = dict[str, Any]
# outcome of a recipient -> the events of its mail, in order
COURSES = {
    "delivered": ("email.sent", "email.delivered"),
    "bounced": ("email.sent", "email.bounced"),
    "complained": ("email.sent", "email.delivered", "email.complained"),
    "suppressed": ("email.suppressed",),
}
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
    db: sqlite3.Connection, address: str, *, outcome: str, email_id: str, now: float
) -> None:
    """Hard bounces and complaints put an address on the account's suppression list."""
    origin = {"bounced": "bounce", "complained": "complaint"}.get(outcome)
    if origin:
        db.execute(
            "insert or ignore into suppressions (email, id, origin, source_id, created_at)"
            " values (?, ?, ?, ?, ?)",
            [address, str(uuid.uuid4()), origin, email_id, now],
        )


def tell(
    db: sqlite3.Connection,
    mail: Body,
    outcomes: list[str],
    *,
    seq: int,
    url: str | None,
    delay: float,
    copies: int,
    now: float,
) -> None:
    """Records the events of a mail and queues them for `url`; of several outcomes the worst.

    `mail`: created_at, email_id, message_id, from, to, subject, tags of the event's data.
    """
    worst = max(outcomes, key=_SEVERITY.index)
    for place, type_ in enumerate(COURSES[worst]):
        at = now + delay * (place + 1) / len(COURSES[worst])
        payload = {
            "type": type_,
            "created_at": utc_millis(at),
            "data": {**mail, **_EXTRAS.get(type_, {})},
        }
        body, event_id = orjson.dumps(payload), "msg_" + _random_text(27)
        db.execute(
            "insert into email_events (id, email, type, at, payload) values (?, ?, ?, ?, ?)",
            [event_id, seq, type_, at, body],
        )
        for _ in range(copies if url else 0):
            delivery = Delivery(
                channel=RESEND,
                url=url or "",
                topic=type_,
                message_id=event_id,
                body=body,
                at=at,
                headers={"Content-Type": "application/json", "User-Agent": "Svix-Webhooks/1.0"},
            )
            enqueue(db, delivery, now=now)


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
