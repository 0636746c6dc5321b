"""A shop with buyers of all kinds, and full runs over the real views."""

from datetime import timedelta
from decimal import Decimal

from sqlalchemy import select

from activation.gate import GATE, Gate
from activation.scoring import ScoringReport, decide_and_apply
from core.database import session_scope
from core.models import RfmRun, SegmentMembership
from tests.activation.world import World
from tests.fixtures.marts import Marts

DAY = timedelta(days=1)


def score(
    world: World, marts: Marts, rfm_run_id: str, *, shop_id: int = 0, gate: Gate = GATE
) -> ScoringReport:
    marts.compute_boundaries(rfm_run_id, world.now)
    return decide_and_apply(
        world.factory,
        shop_id=shop_id or world.shop_id,
        rfm_run_id=rfm_run_id,
        now=world.now,
        run_id="run-1",
        gate=gate,
    )


def people(world: World, count: int) -> None:
    """Buyers from long ago to today, from poor to rich, some of them twice."""
    world.add_customers(range(1, count + 1))
    for number in range(1, count + 1):
        world.place_orders(
            [number] * (1 + number % 3 // 2),
            processed_at=world.now - DAY * (count - number),
            current_total=Decimal(10 + number * 7 % count),
        )


def rows(world: World) -> list[SegmentMembership]:
    """Stays in the order of time; of those that lasted no time the one that ended first."""
    ordered = select(SegmentMembership).order_by(
        SegmentMembership.entered_at,
        SegmentMembership.exited_at.nulls_last(),
        SegmentMembership.membership_id,
    )
    with session_scope(world.factory) as session:
        return list(session.scalars(ordered))


def runs(world: World) -> dict[str, RfmRun]:
    with session_scope(world.factory) as session:
        return {run.rfm_run_id: run for run in session.scalars(select(RfmRun))}
