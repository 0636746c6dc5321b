"""Hop 2b: the boundaries of a full run are accepted or held, and only accepted ones change
memberships.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.gate import GATE, Figures, Finding, Gate, judge_data, judge_swing
from activation.holds import hold, lock_shop, read_swing, release
from activation.memberships import MIN_BUYERS, MembershipReport, apply_membership_changes
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.models import RfmRun, Shop
from core.models.enums import GateState, MembershipCause

READ_FIGURES = text("""
-- Returns the shop's counts. Changes nothing. Scans the shop's customers and orders.
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
    ) AS orders
""")

EVALUATE_ANEW = text("""
-- Changes crm.automations: none has looked at these memberships. By state and not by time: a run
-- is committed long after it was decided. Under the shop's lock, as looking is. Primary key.
UPDATE crm.automations
SET evaluated_version = NULL
WHERE shop_id = :shop_id AND evaluated_version IS NOT NULL
""")

READ_COMPUTED = text("""
-- Returns when a run's boundaries were computed; NULL: it has none. Changes nothing. Primary key.
SELECT max(computed_at)
FROM marts.rfm_boundaries
WHERE shop_id = :shop_id AND rfm_run_id = :rfm_run_id
""")


@dataclass(frozen=True)
class ScoringReport:
    """What the gate said. `reason` only when held; rows opened and closed only when accepted."""

    state: GateState
    reason: str | None
    buyers: int
    customers: int
    orders: int = 0
    moved: int | None = None
    entered: int = 0
    exited: int = 0
    baseline: bool = False


def decide_and_apply(
    factory: SessionFactory,
    *,
    shop_id: int,
    rfm_run_id: str,
    now: datetime,
    run_id: str | None,
    gate: Gate = GATE,
) -> ScoringReport:
    """Accept the boundaries of `rfm_run_id` and bring all memberships in line, or hold them.

    One transaction. Held: memberships are untouched, by orders too, and the former boundaries stay
    in force, until a later run passes or a person accepts this one. A run that was decided before
    keeps its decision.
    """
    with session_scope(factory) as session:
        lock_shop(session, shop_id)
        run = session.get(RfmRun, (shop_id, rfm_run_id))
        if run is not None and run.state is GateState.HELD:
            return report_of(run, MembershipReport())
        if run is None:
            run = _decide(session, shop_id, rfm_run_id, now=now, run_id=run_id, gate=gate)
            if run.state is GateState.HELD:
                return report_of(run, MembershipReport())
            release(session, shop_id)
        changes = apply_accepted(session, run, now=now, run_id=run_id)
        return report_of(run, changes)


def apply_accepted(
    session: Session, run: RfmRun, *, now: datetime, run_id: str | None
) -> MembershipReport:
    """Bring all memberships in line with boundaries that have just been accepted."""
    changes = apply_membership_changes(
        session,
        run.shop_id,
        customer_ids=None,
        now=now,
        cause=_cause(session, run.shop_id, run),
        run_id=run_id,
    )
    if changes.entered:
        session.execute(EVALUATE_ANEW, {"shop_id": run.shop_id})
    if run.entered_count is None and not changes.is_held:
        run.entered_count, run.exited_count = changes.entered, changes.exited
    return changes


def report_of(run: RfmRun, changes: MembershipReport) -> ScoringReport:
    return ScoringReport(
        state=run.state,
        reason=run.held_reason if run.state is GateState.HELD else None,
        buyers=run.buyer_count,
        customers=run.customer_count,
        orders=run.order_count,
        moved=run.moved_count,
        entered=changes.entered,
        exited=changes.exited,
        baseline=changes.baseline,
    )


def _decide(
    session: Session,
    shop_id: int,
    rfm_run_id: str,
    *,
    now: datetime,
    run_id: str | None,
    gate: Gate,
) -> RfmRun:
    """The new row: accepted unless the gate finds something; then the shop is held."""
    figures = read_figures(session, shop_id)
    computed_at: datetime | None = session.execute(
        READ_COMPUTED, {"shop_id": shop_id, "rfm_run_id": rfm_run_id}
    ).scalar_one()

    def decided(finding: Finding | None, moved: int | None) -> RfmRun:
        run = RfmRun(
            shop_id=shop_id,
            rfm_run_id=rfm_run_id,
            run_id=run_id,
            state=GateState.HELD if finding else GateState.ACCEPTED,
            held_check=finding.check if finding else None,
            held_reason=finding.reason if finding else None,
            customer_count=figures.customers,
            buyer_count=figures.buyers,
            order_count=figures.orders,
            moved_count=moved,
            computed_at=computed_at or now,
            decided_at=now,
        )
        session.add(run)
        session.flush()
        if finding:
            hold(session, shop_id, finding, now=now, rfm_run_id=rfm_run_id)
        return run

    finding = judge_data(
        figures,
        last_accepted(session, shop_id),
        mismatches=statistics.mismatches(session, shop_id),
        gate=gate,
    )
    if finding is not None:
        return decided(finding, None)
    # The view scores by accepted boundaries, so what they would do is seen by accepting them; a
    # hold takes that back before anyone else could see it.
    is_first = _is_first_scoring(session, shop_id)
    with session.begin_nested() as savepoint:
        accepted = decided(None, None)
        swing = read_swing(session, shop_id)
        finding = None if is_first else judge_swing(swing, gate=gate)
        if finding is None:
            accepted.moved_count = swing.moved
            session.flush()
            return accepted
        savepoint.rollback()
    return decided(finding, swing.moved)


def read_figures(session: Session, shop_id: int) -> Figures:
    """What is counted now; needs no marts."""
    row = session.execute(READ_FIGURES, {"shop_id": shop_id}).one()
    return Figures(customers=row.customers, buyers=row.buyers, orders=row.orders)


def last_accepted(
    session: Session, shop_id: int, *, before: RfmRun | None = None
) -> Figures | None:
    """The figures that new ones are compared with; `before`: those that this run was."""
    statement = select(RfmRun).where(RfmRun.shop_id == shop_id, RfmRun.state == GateState.ACCEPTED)
    if before is not None:
        statement = statement.where(RfmRun.rfm_run_id != before.rfm_run_id)
    newest = statement.order_by(RfmRun.decided_at.desc(), RfmRun.rfm_run_id.desc())
    run = session.scalars(newest.limit(1)).one_or_none()
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
