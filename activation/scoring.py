"""Hop 2b: the boundaries of a full run are accepted or held, and only accepted ones change
memberships.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.gate import Figures, Swing, judge_data, judge_swing
from activation.memberships import (
    MIN_BUYERS,
    MembershipReport,
    apply_membership_changes,
    lock_shop,
)
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.models import RfmRun, Shop
from core.models.enums import GateState, MembershipCause

READ_FIGURES = text("""
-- Returns the shop's counts and when this run's boundaries were computed (NULL: it has none).
-- Changes nothing. Scans the shop's customers and orders.
SELECT
    (
        SELECT count(*)
        FROM raw_shopify.customers
        WHERE customers.shop_id = :shop_id AND customers.deleted_at IS NULL
    ) AS customers,
    (
        SELECT count(*)
        FROM raw_shopify.customer_statistics AS statistics
        WHERE statistics.shop_id = :shop_id AND statistics.order_count > 0
    ) AS buyers,
    (
        SELECT count(*)
        FROM raw_shopify.orders
        WHERE orders.shop_id = :shop_id AND orders.is_counted
    ) AS orders,
    (
        SELECT max(boundaries.computed_at)
        FROM marts.rfm_boundaries AS boundaries
        WHERE boundaries.shop_id = :shop_id AND boundaries.rfm_run_id = :rfm_run_id
    ) AS computed_at
""")

READ_SWING = text("""
-- Returns how many open memberships there are and how many the view now says otherwise.
-- Changes nothing. Index uq_segment_memberships__one_open.
SELECT
    count(*) AS members,
    count(*) FILTER (WHERE memberships.segment <> segments.segment) AS moved
FROM crm.segment_memberships AS memberships
INNER JOIN marts.customer_segments AS segments
    ON
        memberships.shop_id = segments.shop_id
        AND memberships.customer_id = segments.customer_id
WHERE memberships.shop_id = :shop_id AND memberships.exited_at IS NULL
""")


@dataclass(frozen=True)
class ScoringReport:
    """What the gate said. `reason` only when held; rows opened and closed only when accepted."""

    state: GateState
    reason: str | None
    buyers: int
    customers: int
    entered: int = 0
    exited: int = 0


def decide_and_apply(
    factory: SessionFactory,
    *,
    shop_id: int,
    rfm_run_id: str,
    now: datetime,
    run_id: str | None,
) -> ScoringReport:
    """Accept the boundaries of `rfm_run_id` and bring all memberships in line, or hold them.

    One transaction. Held: memberships are untouched and the former boundaries stay in force.
    A run that was decided before keeps its decision.
    """
    with session_scope(factory) as session:
        lock_shop(session, shop_id)
        decided = session.get(RfmRun, (shop_id, rfm_run_id))
        if decided is not None and decided.state is GateState.HELD:
            return _report(decided, MembershipReport())
        run = decided or _decide(session, shop_id, rfm_run_id, now=now, run_id=run_id)
        if run.state is GateState.HELD:
            return _report(run, MembershipReport())
        changes = apply_membership_changes(
            session,
            shop_id,
            customer_ids=None,
            now=now,
            cause=_cause(session, shop_id, run),
            run_id=run_id,
        )
        return _report(run, changes)


def _decide(
    session: Session, shop_id: int, rfm_run_id: str, *, now: datetime, run_id: str | None
) -> RfmRun:
    """The new row: accepted unless the gate finds a reason."""
    row = session.execute(READ_FIGURES, {"shop_id": shop_id, "rfm_run_id": rfm_run_id}).one()
    figures = Figures(customers=row.customers, buyers=row.buyers, orders=row.orders)

    def decided(state: GateState, reason: str | None, moved: int | None) -> RfmRun:
        run = RfmRun(
            shop_id=shop_id,
            rfm_run_id=rfm_run_id,
            run_id=run_id,
            state=state,
            held_reason=reason,
            customer_count=figures.customers,
            buyer_count=figures.buyers,
            order_count=figures.orders,
            moved_count=moved,
            computed_at=row.computed_at or now,
            decided_at=now,
        )
        session.add(run)
        session.flush()
        return run

    reason = judge_data(
        figures,
        _last_accepted(session, shop_id),
        mismatches=statistics.mismatches(session, shop_id),
    )
    if reason is not None:
        return decided(GateState.HELD, reason, None)
    # The view scores by accepted boundaries, so what they would do is seen by accepting them; a
    # hold takes that back before anyone else could see it.
    is_first = _is_first_scoring(session, shop_id)
    with session.begin_nested() as savepoint:
        accepted = decided(GateState.ACCEPTED, None, None)
        swing = _read_swing(session, shop_id)
        reason = None if is_first else judge_swing(swing)
        if reason is None:
            accepted.moved_count = swing.moved
            session.flush()
            return accepted
        savepoint.rollback()
    return decided(GateState.HELD, reason, swing.moved)


def _read_swing(session: Session, shop_id: int) -> Swing:
    row = session.execute(READ_SWING, {"shop_id": shop_id}).one()
    return Swing(members=row.members, moved=row.moved)


def _last_accepted(session: Session, shop_id: int) -> Figures | None:
    run = session.scalars(
        select(RfmRun)
        .where(RfmRun.shop_id == shop_id, RfmRun.state == GateState.ACCEPTED)
        .order_by(RfmRun.decided_at.desc(), RfmRun.rfm_run_id.desc())
        .limit(1)
    ).one_or_none()
    if run is None:
        return None
    return Figures(run.customer_count, run.buyer_count, run.order_count)


def _is_first_scoring(session: Session, shop_id: int) -> bool:
    """Whether nobody of this shop had a score before: everyone then gets their first one."""
    shop = session.get_one(Shop, shop_id)
    return shop.baseline_at is None or not _was_scored(session, shop_id)


def _was_scored(session: Session, shop_id: int, *, before: RfmRun | None = None) -> bool:
    """Whether an accepted run, other than `before`, had enough buyers to score."""
    statement = select(RfmRun.rfm_run_id).where(
        RfmRun.shop_id == shop_id,
        RfmRun.state == GateState.ACCEPTED,
        RfmRun.buyer_count >= MIN_BUYERS,
    )
    if before is not None:
        statement = statement.where(RfmRun.rfm_run_id != before.rfm_run_id)
    return session.scalars(statement.limit(1)).first() is not None


def _cause(session: Session, shop_id: int, run: RfmRun) -> MembershipCause:
    """A shop's first scores are a baseline too: nobody left `potential`, they were unknown."""
    if _was_scored(session, shop_id, before=run):
        return MembershipCause.FULL_RUN
    return MembershipCause.BASELINE


def _report(run: RfmRun, changes: MembershipReport) -> ScoringReport:
    return ScoringReport(
        state=run.state,
        reason=run.held_reason,
        buyers=run.buyer_count,
        customers=run.customer_count,
        entered=changes.entered,
        exited=changes.exited,
    )
