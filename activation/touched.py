"""Hop 3 between full runs: customers whose orders changed, their memberships and enrolments.

The transaction that stored an order has moved its customer's statistics and left a touch; the view
is right already. What follows here follows for the touched ones only, a chunk per transaction.

Orders usually change a few at a time. Where so many changed together that a good part of the shop
would move, it may be the data: their touches stay, and the next full run or a person decides.
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
from core.models.enums import MembershipCause

_UNLIMITED: Final = 2**31

CLAIM_TOUCHES = text("""
-- Returns the customers of the oldest touches, one row each. Changes raw_shopify.customer_touches:
-- those are gone, if we commit. One that somebody else holds is passed over. Primary key.
DELETE FROM raw_shopify.customer_touches AS touches
USING (
    SELECT shop_id, touch_id
    FROM raw_shopify.customer_touches
    WHERE shop_id = :shop_id
    ORDER BY touch_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS oldest
WHERE touches.shop_id = oldest.shop_id AND touches.touch_id = oldest.touch_id
RETURNING touches.customer_id
""")

COUNT_TOUCHES = text("""
-- Returns how many touches wait, at least as many as customers, counting no further than :limit.
-- Changes nothing. Primary key.
SELECT count(*)
FROM (
    SELECT 1
    FROM raw_shopify.customer_touches
    WHERE shop_id = :shop_id
    LIMIT :limit
) AS waiting
""")

COUNT_MOVED = text("""
-- Returns how many customers orders have moved since the last full run was accepted, or since a
-- person last accepted something, counting no further than :limit: each move ended a stay. Changes
-- nothing. Indexes ix_segment_memberships__exited, ix_rfm_runs__decided, ix_audit_entries__acted.
SELECT count(*)
FROM (
    SELECT 1
    FROM crm.segment_memberships AS memberships
    WHERE
        memberships.shop_id = :shop_id
        AND memberships.exited_at > greatest(
            (
                SELECT max(rfm_runs.decided_at)
                FROM crm.rfm_runs
                WHERE rfm_runs.shop_id = :shop_id AND rfm_runs.state = 'accepted'
            ),
            (
                SELECT max(audit_entries.acted_at)
                FROM crm.audit_entries
                WHERE
                    audit_entries.shop_id = :shop_id
                    AND audit_entries.action = 'accept_held_data'
            )
        )
        AND memberships.exit_cause = 'order'
    LIMIT :limit
) AS moved
""")


@dataclass(frozen=True)
class TouchedReport:
    """One chunk. `claimed` touches are done; none where the gate holds the orders."""

    claimed: int = 0
    changes: MembershipReport = field(default_factory=MembershipReport)
    enrolled: EnrolmentReport = field(default_factory=EnrolmentReport)


@dataclass(frozen=True)
class Judged:
    """How many touches may be applied before it is asked again. A `finding` holds the shop now."""

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
    waiting: int = session.execute(COUNT_TOUCHES, limited).scalar_one()
    if not waiting:
        return Judged(0)
    moved: int = session.execute(COUNT_MOVED, limited).scalar_one()
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
    """Those of the oldest `limit` touches, in the caller's transaction.

    Claimed before anything is read: an order that commits later leaves a touch that stays.
    """
    lock_shop(session, shop_id)
    if doubts_orders(session, shop_id):
        return TouchedReport()
    claimed = session.execute(CLAIM_TOUCHES, {"shop_id": shop_id, "limit": limit})
    touches: list[int] = [row.customer_id for row in claimed]
    if not touches:
        return TouchedReport()
    customer_ids = sorted(set(touches))
    changes = apply_membership_changes(
        session,
        shop_id,
        customer_ids=customer_ids,
        now=now,
        cause=MembershipCause.ORDER,
        run_id=run_id,
    )
    enrolled = enrol(session, shop_id, customer_ids=customer_ids, now=now, run_id=run_id)
    return TouchedReport(len(touches), changes, enrolled)


def doubts_orders(session: Session, shop_id: int) -> bool:
    """Whether the gate holds the shop for its orders: nothing may start by them."""
    held = read_hold(session, shop_id)
    return held is not None and held.doubts_orders
