"""Mails that wait while somebody changes what they want to get."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.enums import SkipReason

SKIP_QUEUED = text("""
-- Changes crm.messages: what waits for this address will never leave. One that is being frozen this
-- instant is passed over, because who freezes it holds it: eligibility is asked once more before
-- the first attempt. Indexes ix_customers__email, ix_messages__customer.
UPDATE crm.messages
SET
    state = 'skipped',
    skip_reason = :reason,
    defer_reason = NULL,
    finished_at = :now
WHERE
    shop_id = :shop_id
    AND message_id IN (
        SELECT waiting.message_id
        FROM raw_shopify.customers
        INNER JOIN crm.messages AS waiting
            ON
                customers.shop_id = waiting.shop_id
                AND customers.customer_id = waiting.customer_id
        WHERE
            customers.shop_id = :shop_id
            AND customers.email_normalized = :email
            AND waiting.state = 'queued'
            AND NOT waiting.is_test
            AND (
                CAST(:automation_ids AS integer []) IS NULL
                OR waiting.automation_id = ANY(CAST(:automation_ids AS integer []))
            )
        ORDER BY waiting.message_id
        FOR UPDATE OF waiting SKIP LOCKED
    )
""")


def skip_queued(
    session: Session,
    shop_id: int,
    email: str,
    reason: SkipReason,
    *,
    automation_ids: Sequence[int] | None = None,
    now: datetime,
) -> int:
    """Skip what is queued for customers who have this (normalised) address now; of these flows
    only, or of all. Returns how many.
    """
    skipped: int = session.execute(
        SKIP_QUEUED,
        {
            "shop_id": shop_id,
            "email": email,
            "reason": reason.value,
            "automation_ids": None if automation_ids is None else list(automation_ids),
            "now": now,
        },
    ).rowcount  # type: ignore[attr-defined]
    return skipped
