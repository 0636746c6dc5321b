"""Hop 3 between full runs: customers whose orders changed, their memberships and enrolments.

The transaction that stored an order has moved its customer's statistics and marked them; the view
is right already. What follows here follows for the marked ones only, a chunk per transaction.

Orders usually change a few at a time. Where so many changed together that a good part of the shop
would move, it may be the data: they stay marked, and the next full run or a person decides.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.enrollment import EnrolmentReport, enrol
from activation.gate import GATE, Finding, Gate, judge_orders
from activation.holds import hold, lock_shop, read_hold, read_swing
from activation.memberships import MembershipReport, apply_membership_changes
from activation.scoring import last_accepted
from core.models.enums import MembershipCause, Segment

_UNLIMITED: Final = 2**31

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

COUNT_MOVED = text("""
-- Returns how many customers orders have moved since the last full run was accepted, or since a
-- person last accepted something, counting no further than :limit. Changes nothing.
-- Indexes ix_segment_memberships__entered, ix_rfm_runs__decided, ix_audit_entries__acted.
SELECT count(*)
FROM (
    SELECT 1
    FROM crm.segment_memberships AS memberships
    WHERE
        memberships.shop_id = :shop_id
        AND memberships.segment = ANY(CAST(:segments AS text []))
        AND memberships.entered_at > greatest(
            (
                SELECT max(rfm_runs.decided_at)
                FROM crm.rfm_runs
                WHERE rfm_runs.shop_id = :shop_id AND rfm_runs.state = 'accepted'
            ),
            (
                SELECT max(audit_entries.acted_at)
                FROM crm.audit_entries
                WHERE audit_entries.shop_id = :shop_id
            )
        )
        AND memberships.cause = 'order'
        AND memberships.previous_segment IS NOT NULL
    LIMIT :limit
) AS moved
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


@dataclass(frozen=True)
class Judged:
    """So many may be applied before it is asked again; with a `finding`, the shop is held now."""

    may_apply: int
    finding: Finding | None = None


def judge_touched(session: Session, shop_id: int, *, now: datetime, gate: Gate = GATE) -> Judged:
    """Hold the shop if the orders that wait would move too many of its customers.

    Looked at before the first of them is applied: afterwards a part has moved already. What orders
    have moved since the last full run counts too, or a batch that is applied while it is still
    being written would never be large. Counting costs looks into indexes; only where they are many,
    what they would do is computed.
    """
    figures = last_accepted(session, shop_id)
    if not gate.is_on or figures is None or figures.customers < gate.min_customers_for_swing:
        return Judged(_UNLIMITED)
    many = int(figures.customers * gate.max_moved)
    limited = {"shop_id": shop_id, "limit": many + 1}
    waiting: int = session.execute(COUNT_TOUCHED, limited).scalar_one()
    if not waiting:
        return Judged(0)
    moved: int = session.execute(COUNT_MOVED, {**limited, "segments": list(Segment)}).scalar_one()
    if waiting + moved <= many:
        return Judged(waiting)
    lock_shop(session, shop_id)
    if read_hold(session, shop_id) is not None:
        return Judged(waiting)
    swing = read_swing(session, shop_id)
    finding = judge_orders(replace(swing, moved=swing.moved + moved), gate=gate)
    if finding is not None:
        hold(session, shop_id, finding, now=now, rfm_run_id=None)
    return Judged(waiting, finding)


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
