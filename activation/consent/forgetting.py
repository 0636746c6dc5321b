"""Networks and browsers of people go from the ledger after a year.

They prove who clicked while that is disputed at all; a click that confirmed a subscription keeps
them, because it is what every later mail rests on.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

KEPT_FOR: Final = timedelta(days=365)
LIMIT: Final = 5_000

FORGET = text("""
-- Returns a row for each event. Changes crm.consent_events: where from and with what program.
-- Index ix_consent_events__network.
UPDATE crm.consent_events
SET ip = NULL, user_agent = NULL
WHERE
    shop_id = :shop_id
    AND consent_event_id IN (
        SELECT old.consent_event_id
        FROM crm.consent_events AS old
        WHERE
            old.shop_id = :shop_id
            AND old.ip IS NOT NULL
            AND old.occurred_at < :before
            AND old.source <> 'double_opt_in'
        ORDER BY old.occurred_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
RETURNING 1
""")


def forget_networks(session: Session, shop_id: int, *, now: datetime) -> int:
    """Up to `LIMIT` rows; returns how many. `now` is business time."""
    rows = session.execute(
        FORGET, {"shop_id": shop_id, "before": now - KEPT_FOR, "limit": LIMIT}
    ).all()
    return len(rows)
