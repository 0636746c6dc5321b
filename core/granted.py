"""What the app may do at a shop, kept; what waited for a scope that has come goes on."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models import Shop

WRITE_SCOPE: Final = "write_customers"
# What a wish says that failed for want of the scope (activation/writer.py); known again by it.
CANNOT_WRITE: Final = (
    "The app may not change customers: give it the scope write_customers and install it anew."
)
# Tried with every look at the scopes, which is hourly: Shopify may refuse for another reason.
ATTEMPTS: Final = 80

QUEUE_AGAIN = text("""
-- Changes crm.write_backs: what failed for want of a scope is due. Not where a later wish about the
-- same customer and tag has been made: only the latest counts. Reads the shop's wishes; hourly.
-- Index ix_write_backs__customer.
UPDATE crm.write_backs AS wish
SET
    state = 'queued',
    error = NULL,
    finished_at = NULL,
    next_attempt_at = clock_timestamp()
WHERE
    wish.shop_id = :shop_id
    AND wish.state = 'failed'
    AND wish.error = :words
    AND wish.attempts < :attempts
    AND NOT EXISTS (
        SELECT 1
        FROM crm.write_backs AS later
        WHERE
            later.shop_id = wish.shop_id
            AND later.customer_id = wish.customer_id
            AND later.write_back_id > wish.write_back_id
            AND (later.kind = 'consent') = (wish.kind = 'consent')
            AND lower(later.tag) IS NOT DISTINCT FROM lower(wish.tag)
    )
""")


def keep_scopes(session: Session, shop_id: int, scopes: Sequence[str]) -> None:
    """The scopes Shopify says the app has now."""
    session.get_one(Shop, shop_id).access_scopes = list(scopes)
    if WRITE_SCOPE in scopes:
        session.execute(
            QUEUE_AGAIN, {"shop_id": shop_id, "words": CANNOT_WRITE, "attempts": ATTEMPTS}
        )
