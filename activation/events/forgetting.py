"""Networks and programs of readers go after a month: by then it is judged who was a machine.

The judgement stays (engagements.py), and so does that there was an open or a click.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import text

from core.database import SessionFactory, session_scope

KEPT: Final = timedelta(days=30)
BATCH: Final = 5000

FORGET = text("""
-- Returns a row for each forgotten. Changes crm.engagements, and in crm.delivery_events what the
-- provider told the same by. Indexes
-- ix_engagements__visitors, once per shop, and ix_delivery_events__message.
WITH old AS (
    SELECT engagements.shop_id, engagements.message_id, engagements.engagement_key
    FROM crm.shops
    INNER JOIN crm.engagements
        ON
            shops.shop_id = engagements.shop_id
            AND engagements.recorded_at < clock_timestamp() - CAST(:kept AS interval)
            AND (engagements.ip_address IS NOT NULL OR engagements.user_agent IS NOT NULL)
    LIMIT :limit
    FOR UPDATE OF engagements SKIP LOCKED
),

emptied AS (
    UPDATE crm.delivery_events
    SET body = body #- '{data,click,ipAddress}' #- '{data,click,userAgent}'
    FROM old
    WHERE
        delivery_events.event_id = old.engagement_key
        AND delivery_events.shop_id = old.shop_id
        AND delivery_events.message_id = old.message_id
    RETURNING 1
)

UPDATE crm.engagements
SET ip_address = NULL, user_agent = NULL
FROM old
WHERE
    engagements.shop_id = old.shop_id
    AND engagements.message_id = old.message_id
    AND engagements.engagement_key = old.engagement_key
RETURNING 1
""")


def forget_visitors(factory: SessionFactory, *, stop: Callable[[], bool] = lambda: False) -> int:
    """Clear what is older than a month, in transactions of their own; how many rows."""
    forgotten = 0
    while not stop():
        with session_scope(factory) as session:
            rows = session.execute(FORGET, {"kept": KEPT, "limit": BATCH}).all()
        forgotten += len(rows)
        if len(rows) < BATCH:
            break
    return forgotten
