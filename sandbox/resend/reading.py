"""`GET /emails` and `GET /emails/{id}`."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from sandbox.clock import postgres_stamp
from sandbox.http import reply
from sandbox.resend.errors import ResendError, invalid
from sandbox.resend.listing import limit_of
from sandbox.store import Store

Body = dict[str, Any]


def find_email(store: Store, id_: str, *, now: float) -> Response:
    with store.read() as db:
        row = db.execute("select * from emails where id = ?", [id_]).fetchone()
        if row is None:
            raise ResendError(404, "not_found", "Email not found")
        summary = _summary(db, row, now)
    return reply({**summary, "html": row["html"], "text": row["text"], "tags": _kept(row)["tags"]})


def list_emails(store: Store, query: Mapping[str, str], *, now: float) -> Response:
    """Newest first; `limit` 1..100, `after` and `before` the id of a mail seen."""
    limit = limit_of(query)
    with store.read() as db:
        top = _position(db, query["after"]) if "after" in query else None
        floor = _position(db, query["before"]) if "before" in query else None
        order = "asc" if floor is not None else "desc"  # the ones next to the cursor
        rows = db.execute(
            "select * from emails where (?1 is null or seq < ?1) and (?2 is null or seq > ?2)"
            f" order by seq {order} limit ?3",
            [top, floor, limit + 1],
        ).fetchall()
        page = sorted(rows[:limit], key=lambda row: -row["seq"])
        data = [_summary(db, row, now) for row in page]
    return reply({"object": "list", "has_more": len(rows) > limit, "data": data})


def last_event(db: sqlite3.Connection, seq: int, now: float) -> str:
    """`delivered` of the newest event that has come to pass; `queued` before the first."""
    row = db.execute(
        "select type from email_events where email = ? and at <= ? "
        " order by at desc, type = 'email.canceled' desc limit 1",
        [seq, now],
    ).fetchone()
    return "queued" if row is None else row["type"].removeprefix("email.")


def _kept(row: sqlite3.Row) -> Body:
    kept: Body = orjson.loads(row["body"])
    return kept


def _summary(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> Body:
    kept = _kept(row)
    return {
        "object": "email",
        "id": row["id"],
        "message_id": row["message_id"],
        "to": kept["to"],
        "from": row["sender"],
        "created_at": postgres_stamp(row["accepted_at"]),
        "subject": row["subject"],
        "bcc": kept["bcc"],
        "cc": kept["cc"],
        "reply_to": kept["reply_to"],
        "last_event": last_event(db, row["seq"], now),
        "scheduled_at": _scheduled(db, row["seq"]),
    }


def _scheduled(db: sqlite3.Connection, seq: int) -> str | None:
    row = db.execute("select at from scheduled where email = ?", [seq]).fetchone()
    return None if row is None else postgres_stamp(row["at"])


def _position(db: sqlite3.Connection, id_: str) -> int:
    row = db.execute("select seq from emails where id = ?", [id_]).fetchone()
    if row is None:
        raise invalid("The pagination cursor is not valid.")
    return int(row["seq"])
