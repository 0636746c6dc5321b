"""Hop 3 between full runs: customers whose orders changed, their memberships and enrolments.

The transaction that stored an order has moved its customer's statistics and marked them; the view
is right already. What follows here follows for the marked ones only, a chunk per transaction.

Orders usually change a few at a time. Where so many changed together that a good part of the shop
would move, it may be the data: they stay marked, and the next full run or a person decides.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.enrollment import EnrolmentReport, enrol
from activation.gate import GATE, Finding, Gate, judge_orders
from activation.holds import hold, lock_shop, read_hold, read_swing
from activation.memberships import MembershipReport, apply_membership_changes
from activation.scoring import last_accepted
from core.models.enums import MembershipCause

READ_TOUCHED = text("""
-- Returns customers whose statistics changed since memberships were applied, oldest change first.
-- Index ix_customer_statistics__touched.
SELECT customer_id, touched_at
FROM raw_shopify.customer_statistics
WHERE shop_id = :shop_id AND touched_at IS NOT NULL
ORDER BY touched_at, customer_id
LIMIT :limit
""")

COUNT_TOUCHED = text("""
-- Returns how many customers wait, counting no further than :limit. Changes nothing.
-- Index ix_customer_statistics__touched.
SELECT count(*)
FROM (
    SELECT 1
    FROM raw_shopify.customer_statistics
    WHERE shop_id = :shop_id AND touched_at IS NOT NULL
    LIMIT :limit
) AS waiting
""")

CLEAR_TOUCHED = text("""
-- Returns a row per customer done. Changes raw_shopify.customer_statistics: done, unless changed
-- again since it was read. A row that an order is changing right now is passed over and read again
-- next time.
UPDATE raw_shopify.customer_statistics AS statistics
SET touched_at = NULL
FROM (
    SELECT locked.shop_id, locked.customer_id
    FROM raw_shopify.customer_statistics AS locked
    INNER JOIN
        unnest(CAST(:customer_ids AS bigint []), CAST(:touched_at AS timestamptz []))
            AS seen (customer_id, touched_at)
        ON locked.customer_id = seen.customer_id AND locked.touched_at = seen.touched_at
    WHERE locked.shop_id = :shop_id
    ORDER BY locked.customer_id
    FOR UPDATE OF locked SKIP LOCKED
) AS unchanged
WHERE
    statistics.shop_id = unchanged.shop_id
    AND statistics.customer_id = unchanged.customer_id
RETURNING 1
""")


@dataclass(frozen=True)
class Touched:
    """Customers whose statistics changed, with the instant read, to clear only that."""

    customer_ids: list[int]
    touched_at: list[datetime]


@dataclass(frozen=True)
class TouchedReport:
    """One chunk. `cleared` of `read` customers are done; none where the gate holds the orders."""

    read: int = 0
    cleared: int = 0
    changes: MembershipReport = field(default_factory=MembershipReport)
    enrolled: EnrolmentReport = field(default_factory=EnrolmentReport)


def judge_touched(
    session: Session, shop_id: int, *, now: datetime, gate: Gate = GATE
) -> Finding | None:
    """Hold the shop if the orders that wait would move too many of its customers at once.

    Looked at before the first of them is applied: afterwards a part has moved already. Counting
    them costs a look into an index; only where they are many, what they would do is computed.
    """
    if not gate.is_on:
        return None
    figures = last_accepted(session, shop_id)
    if figures is None or figures.customers < gate.min_customers_for_swing:
        return None
    many = int(figures.customers * gate.max_moved)
    waiting: int = session.execute(
        COUNT_TOUCHED, {"shop_id": shop_id, "limit": many + 1}
    ).scalar_one()
    if waiting <= many:
        return None
    lock_shop(session, shop_id)
    if read_hold(session, shop_id) is not None:
        return None
    finding = judge_orders(read_swing(session, shop_id), gate=gate)
    if finding is not None:
        hold(session, shop_id, finding, now=now, rfm_run_id=None)
    return finding


def apply_touched(
    session: Session, shop_id: int, *, now: datetime, run_id: str | None, limit: int
) -> TouchedReport:
    """The oldest `limit` of them, in the caller's transaction."""
    lock_shop(session, shop_id)
    if doubts_orders(session, shop_id):
        return TouchedReport()
    touched = read_touched(session, shop_id, limit=limit)
    if not touched.customer_ids:
        return TouchedReport()
    customer_ids = touched.customer_ids
    changes = apply_membership_changes(
        session,
        shop_id,
        customer_ids=customer_ids,
        now=now,
        cause=MembershipCause.ORDER,
        run_id=run_id,
    )
    enrolled = enrol(session, shop_id, customer_ids=customer_ids, now=now, run_id=run_id)
    cleared = clear_touched(session, shop_id, touched)
    return TouchedReport(len(customer_ids), cleared, changes, enrolled)


def doubts_orders(session: Session, shop_id: int) -> bool:
    """Whether the gate holds the shop for its orders: nothing may start by them."""
    held = read_hold(session, shop_id)
    return held is not None and held.doubts_orders


def read_touched(session: Session, shop_id: int, *, limit: int = 1000) -> Touched:
    rows = session.execute(READ_TOUCHED, {"shop_id": shop_id, "limit": limit}).all()
    return Touched([row.customer_id for row in rows], [row.touched_at for row in rows])


def clear_touched(session: Session, shop_id: int, touched: Touched) -> int:
    """Mark as done what has not changed since `read_touched`; returns how many."""
    cleared = session.execute(
        CLEAR_TOUCHED,
        {
            "shop_id": shop_id,
            "customer_ids": touched.customer_ids,
            "touched_at": touched.touched_at,
        },
    )
    return len(cleared.all())
