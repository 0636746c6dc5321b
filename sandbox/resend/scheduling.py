"""Mails that leave later: `scheduled_at`, `PATCH /emails/{id}`, `POST /emails/{id}/cancel`."""

import re
import sqlite3
from datetime import datetime
from typing import Any

from sandbox.clock import epoch
from sandbox.resend.errors import ResendError, invalid

LONGEST = 30 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_IN = re.compile(
    r"in (?P<count>\d{1,6}) ?(?P<unit>s|m|h|d)"
    r"(ec|ecs|econd|econds|in|ins|inute|inutes|our|ours|ay|ays)?",
    re.IGNORECASE,
)


def moment(value: Any, *, now: float) -> float:
    """Seconds since 1970 of ISO 8601 or of words such as `in 5 min`. Raises ResendError."""
    if not isinstance(value, str):
        raise invalid("The `scheduled_at` field must be a string.")
    words = _IN.fullmatch(value.strip())
    at = now + int(words["count"]) * _UNITS[words["unit"].lower()] if words else _iso(value)
    if not now <= at <= now + LONGEST:
        raise invalid("The `scheduled_at` field must be within the next 30 days.")
    return at


def waiting(db: sqlite3.Connection, id_: str, *, now: float) -> sqlite3.Row:
    """The scheduled mail that can still be changed. Raises ResendError."""
    row: sqlite3.Row | None = db.execute(
        "select emails.seq, scheduled.at, scheduled.canceled_at, scheduled.data,"
        " scheduled.outcomes from emails left join scheduled on scheduled.email = emails.seq"
        " where emails.id = ?",
        [id_],
    ).fetchone()
    if row is None:
        raise ResendError(404, "not_found", "Email not found")
    if row["at"] is None or row["canceled_at"] is not None or row["at"] <= now:
        raise invalid("Only an email that is still scheduled can be changed.")
    return row


def forget_events(db: sqlite3.Connection, seq: int, *, now: float) -> None:
    """What was to come of the mail will not."""
    coming = "select id from email_events where email = ? and at > ?"
    db.execute(f"delete from deliveries where message_id in ({coming})", [seq, now])
    db.execute("delete from email_events where email = ? and at > ?", [seq, now])


def _iso(value: str) -> float:
    try:
        return epoch(datetime.fromisoformat(value).isoformat())
    except ValueError:
        raise invalid("The `scheduled_at` field must be ISO 8601 or `in N min`.") from None
