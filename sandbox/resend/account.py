"""What belongs to the account: its suppression list, its webhooks, its domains."""

import sqlite3
import uuid
from collections.abc import Iterable
from typing import Any

import orjson
from starlette.responses import Response

from sandbox.clock import postgres_stamp
from sandbox.http import Call, reply
from sandbox.resend.errors import ResendError, invalid, missing
from sandbox.resend.events import TYPES, suppressed_now, tell_list
from sandbox.resend.listing import paged
from sandbox.resend.validation import ADDRESS, plain
from sandbox.world import World

MAX_AT_ONCE = 100
ORIGINS = {"bounce", "complaint", "manual"}
Body = dict[str, Any]


class Account:
    """Handlers; what they raise is answered by the caller (api.py)."""

    def __init__(self, world: World) -> None:
        self._world = world

    # ------------------------------------------------------------------ suppressions

    def suppressions(self, call: Call) -> Response:
        """`POST /suppressions` and `GET /suppressions`."""
        if call.method == "POST":
            email = _address(_body(call).get("email"))
            [added] = self._add([email])
            return reply(added, 201)
        origin = call.query.get("origin")
        if origin is not None and origin not in ORIGINS:
            raise invalid("The `origin` must be bounce, complaint or manual.")
        with self._world.store.read() as db:
            rows = db.execute(
                "select * from suppressions where ? is null or origin = ?"
                " order by created_at desc, id",
                [origin, origin],
            ).fetchall()
        return paged(rows, call.query, _suppression, also=frozenset({"origin"}))

    def suppression(self, call: Call) -> Response:
        """`GET` and `DELETE /suppressions/{id or email}`."""
        wanted = call.params["id"]
        with self._world.store.read() as db:
            row = _find(db, wanted)
        if row is None:
            raise ResendError(404, "not_found", "Suppression not found")
        if call.method == "GET":
            return reply(_suppression(row))
        self._remove([row])
        return reply({"object": "suppression", "id": row["id"], "deleted": True})

    def add_many(self, call: Call) -> Response:
        """`POST /suppressions/batch/add`: fewer lines come back when addresses repeat."""
        emails = _listed(_body(call), "emails")
        return reply({"data": self._add(dict.fromkeys(map(_address, emails)))}, 201)

    def remove_many(self, call: Call) -> Response:
        """`POST /suppressions/batch/remove`, by addresses or by ids."""
        body = _body(call)
        if ("emails" in body) == ("ids" in body):
            raise invalid("Provide either `emails` or `ids`.")
        wanted = _listed(body, "emails" if "emails" in body else "ids")
        with self._world.store.read() as db:
            found = {row["id"]: row for row in (_find(db, each) for each in wanted) if row}
        self._remove(found.values())
        data = [{"object": "suppression", "id": id_, "deleted": True} for id_ in found]
        return reply({"data": data})

    def _add(self, emails: Iterable[str]) -> list[Body]:
        now, added = self._world.clock.now(), []
        with self._world.store.write() as db:
            for email in emails:
                row = _find(db, email)
                if row is None:
                    row = suppressed_now(db, email, origin="manual", source=None, now=now)
                    tell_list(db, self._world, "suppression.added", row, now=now)
                added.append({"object": "suppression", "id": row["id"]})
        self._world.deliverer.wake()
        return added

    def _remove(self, rows: Iterable[sqlite3.Row]) -> None:
        now = self._world.clock.now()
        with self._world.store.write() as db:
            for row in rows:
                db.execute("delete from suppressions where email = ?", [row["email"]])
                tell_list(db, self._world, "suppression.removed", row, now=now)
        self._world.deliverer.wake()

    # ------------------------------------------------------------------ webhooks and domains

    def webhooks(self, call: Call) -> Response:
        """`POST /webhooks` and `GET /webhooks`. All are signed with the sandbox's one secret."""
        if call.method == "POST":
            return self._make_webhook(_body(call))
        with self._world.store.read() as db:
            rows = db.execute("select * from resend_webhooks order by created_at desc").fetchall()
        own = self._world.config.resend_webhook_url
        known = [{**dict(row), "events": orjson.loads(row["events"])} for row in rows]
        if own:
            known.append({"id": "configured", "endpoint": own, "created_at": 0, "events": [*TYPES]})
        return paged(known, call.query, _webhook)

    def webhook(self, call: Call) -> Response:
        """`DELETE /webhooks/{id}`."""
        with self._world.store.write() as db:
            gone = db.execute("delete from resend_webhooks where id = ?", [call.params["id"]])
            if not gone.rowcount:
                raise ResendError(404, "not_found", "Webhook not found")
        return reply({"object": "webhook", "id": call.params["id"], "deleted": True})

    def _make_webhook(self, body: Body) -> Response:
        endpoint, events = body.get("endpoint"), body.get("events")
        if not isinstance(endpoint, str) or not endpoint:
            raise missing("endpoint")
        if not endpoint.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise invalid("The `endpoint` must be a https address.")
        if not isinstance(events, list) or not events or not set(events) <= TYPES:
            raise invalid("The `events` must be some of Resend's event types.")
        id_ = str(uuid.uuid4())
        with self._world.store.write() as db:
            db.execute(
                "insert into resend_webhooks (id, endpoint, events, created_at)"
                " values (?, ?, ?, ?)",
                [id_, endpoint, orjson.dumps(events), self._world.clock.now()],
            )
        secret = self._world.config.resend_webhook_secret
        return reply({"object": "webhook", "id": id_, "signing_secret": secret}, 201)

    def domains(self, call: Call) -> Response:
        """`GET /domains`: one for each loaded shop, `name.example`, verified."""
        return paged(self._domains(), call.query, lambda domain: domain)

    def domain(self, call: Call) -> Response:
        """`GET /domains/{id}`, with its records."""
        for domain in self._domains():
            if domain["id"] == call.params["id"]:
                return reply({"object": "domain", **domain, "records": _records(domain["name"])})
        raise ResendError(404, "not_found", "Domain not found")

    def _domains(self) -> list[Body]:
        with self._world.store.read() as db:
            rows = db.execute("select shop, domain, loaded_at from shops order by shop desc")
            return [
                {
                    "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, row["domain"])),
                    "name": f"{row['domain'].partition('.')[0]}.example",
                    "status": "verified",
                    "created_at": postgres_stamp(row["loaded_at"]),
                    "region": "eu-west-1",
                    "open_tracking": False,
                    "click_tracking": False,
                }
                for row in rows
            ]


def _records(name: str) -> list[Body]:
    usual = {"ttl": "Auto", "status": "verified"}
    return [
        {"record": "SPF", "name": f"send.{name}", "type": "TXT", "value": "v=spf1 ~all", **usual},
        {
            "record": "DKIM",
            "name": f"resend._domainkey.{name}",
            "type": "TXT",
            "value": "p=",
            **usual,
        },
    ]


def _suppression(row: sqlite3.Row) -> Body:
    return {
        "object": "suppression",
        "id": row["id"],
        "email": row["email"],
        "origin": row["origin"],
        "source_id": row["source_id"],
        "created_at": postgres_stamp(row["created_at"]),
    }


def _webhook(row: Body) -> Body:
    return {
        "id": row["id"],
        "created_at": postgres_stamp(row["created_at"]),
        "status": "enabled",
        "endpoint": row["endpoint"],
        "events": row["events"],
    }


def _find(db: sqlite3.Connection, wanted: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "select * from suppressions where id = ? or email = ?", [wanted, wanted.strip().lower()]
    ).fetchone()
    return row


def _body(call: Call) -> Body:
    try:
        body = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        raise ResendError(400, "validation_error", "The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise invalid("The request body must be an object.")
    return body


def _listed(body: Body, name: str) -> list[str]:
    values = body.get(name)
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_AT_ONCE:
        raise invalid(f"The `{name}` must be a list of 1 to {MAX_AT_ONCE}.")
    if not all(isinstance(each, str) for each in values):
        raise invalid(f"The `{name}` must be texts.")
    return values


def _address(value: Any) -> str:
    if value in (None, ""):
        raise missing("email")
    if not isinstance(value, str) or not ADDRESS.fullmatch(plain(value)):
        raise invalid("Invalid `email` field.")
    return plain(value)
