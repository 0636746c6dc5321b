"""The ledger for a merchant's lawyer: as CSV or as JSON lines, however long it is."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

CHUNK: Final = 2_000
COLUMNS: Final = (
    *("consent_event_id", "occurred_at", "recorded_at", "email", "customer_id", "flow"),
    *("state_before", "state_after", "level", "source", "message_id", "user_id"),
    *("wording_version", "wording", "reason", "reason_text", "ip", "user_agent"),
)
# What a spreadsheet would take for a formula: some of it was typed by strangers.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

READ_EVENTS = text("""
-- Returns the ledger of one shop, or of one address in it, in the order of its rows.
-- Changes nothing. Primary key, or ix_consent_events__address.
SELECT
    events.consent_event_id,
    events.occurred_at,
    events.recorded_at,
    events.email_normalized AS email,
    events.customer_id,
    automations.key AS flow,
    events.state_before,
    events.state_after,
    events.level,
    events.source,
    events.message_id,
    events.user_id,
    events.wording_version,
    events.wording,
    events.reason,
    events.reason_text,
    events.ip,
    events.user_agent
FROM crm.consent_events AS events
LEFT JOIN crm.automations
    ON
        events.shop_id = automations.shop_id
        AND events.automation_id = automations.automation_id
WHERE
    events.shop_id = :shop_id
    AND (
        CAST(:email AS text) IS NULL
        OR events.email_normalized = lower(btrim(CAST(:email AS text)))
    )
ORDER BY events.consent_event_id
""")


def read_events(session: Session, shop_id: int, *, email: str | None = None) -> Iterator[Any]:
    """Rows with `COLUMNS`, a chunk in memory at a time; use within one session."""
    result = session.execute(
        READ_EVENTS,
        {"shop_id": shop_id, "email": email},
        execution_options={"yield_per": CHUNK},
    )
    yield from result


def as_csv(rows: Iterator[Any]) -> Iterator[str]:
    """With a header; times as ISO 8601 in UTC, nothing as an empty field."""
    yield _csv_line(COLUMNS)
    for row in rows:
        yield _csv_line([_plain(getattr(row, name)) for name in COLUMNS])


def as_json(rows: Iterator[Any]) -> Iterator[str]:
    """One object a line."""
    for row in rows:
        yield orjson.dumps({name: getattr(row, name) for name in COLUMNS}).decode() + "\n"


def _csv_line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(value: Any) -> str:
    if value is None:
        return ""
    words = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{words}" if words.startswith(FORMULA) else words
