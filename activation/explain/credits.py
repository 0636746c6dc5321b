"""The orders that the attribution mart credits to one mail (docs/attribution.md)."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.explain.reading import HAS_TABLE
from activation.explain.shapes import CreditPart

READ_CREDITS = text("""
-- Returns the orders credited to one message, in order. Changes nothing. Reads the mart.
SELECT order_id, processed_at AS ordered_at, clicked_at, revenue, currency
FROM marts.attributed_orders
WHERE shop_id = :shop_id AND message_id = :message_id
ORDER BY processed_at, order_id
""")


def credits_of(session: Session, shop_id: int, message_id: int) -> tuple[CreditPart, ...] | None:
    """None: dbt has not built the mart yet."""
    if not session.scalar(HAS_TABLE, {"name": "marts.attributed_orders"}):
        return None
    rows = session.execute(READ_CREDITS, {"shop_id": shop_id, "message_id": message_id}).mappings()
    return tuple(CreditPart(**row) for row in rows)
