"""A full run's boundaries are accepted or held, on the real views."""

from decimal import Decimal

import pytest
from sqlalchemy import select

from activation.automation.due import segments_due
from activation.automation.presets import VIP
from core.database import session_scope
from core.ingestion import statistics
from core.models import RfmRun, Shop
from core.models.enums import GateState, MembershipCause
from tests.activation.scores import DAY, people, rows, runs, score
from tests.activation.world import World
from tests.fixtures.marts import Marts


@pytest.mark.requirement("RFM-06")
def test_the_first_run_is_a_baseline_and_nobody_enters(fresh: World, marts: Marts) -> None:
    people(fresh, 20)
    report = score(fresh, marts, "r1")
    assert (report.state, report.buyers, report.customers) == (GateState.ACCEPTED, 20, 20)
    assert (report.entered, report.exited) == (20, 0)
    opened = rows(fresh)
    assert {(row.cause, row.previous_segment) for row in opened} == {
        (MembershipCause.BASELINE, None)
    }
    assert len({row.segment for row in opened}) > 2
    assert {row.rfm_run_id for row in opened} == {"r1"}
    with session_scope(fresh.factory) as session:
        assert session.get_one(Shop, fresh.shop_id).baseline_at == fresh.now


@pytest.mark.requirement("AUTO-01", "FLOW-05")
def test_whom_a_full_run_moves_into_a_segment_enters_its_flow(fresh: World, marts: Marts) -> None:
    """Stays have no index on when they began: they are read when a run has moved somebody."""
    people(fresh, 20)
    score(fresh, marts, "r1")
    fresh.switch_flow_on(VIP)
    fresh.run()
    with session_scope(fresh.factory) as session:
        assert not segments_due(session, now=fresh.now)
    fresh.clock.advance(DAY)
    fresh.place_orders([1, 1, 1], current_total=Decimal(900))
    fresh.execute("DELETE FROM raw_shopify.customer_touches")  # no order tells
    score(fresh, marts, "r2")
    with session_scope(fresh.factory) as session:
        assert segments_due(session, now=fresh.now)
    moved = [row for row in rows(fresh) if row.cause is MembershipCause.FULL_RUN]
    fresh.run()
    entered = {each.customer_id for each in fresh.enrollments() if each.segment == "champion"}
    assert entered == {row.customer_id for row in moved if row.segment == "champion"} != set()
    with session_scope(fresh.factory) as session:
        assert not segments_due(session, now=fresh.now)


@pytest.mark.requirement("RFM-06")
def test_a_second_run_records_who_moved_from_where(fresh: World, marts: Marts) -> None:
    people(fresh, 20)
    score(fresh, marts, "r1")
    before = {row.customer_id: row.segment for row in rows(fresh)}
    fresh.clock.advance(DAY)
    fresh.place_orders([1, 1, 1], current_total=Decimal(900))
    report = score(fresh, marts, "r2")
    assert report.state is GateState.ACCEPTED
    moved = [row for row in rows(fresh) if row.cause is MembershipCause.FULL_RUN]
    assert 1 in {row.customer_id for row in moved}
    assert report.entered == report.exited == len(moved) == runs(fresh)["r2"].moved_count
    for row in moved:
        assert row.previous_segment == before[row.customer_id] != row.segment
        assert row.entered_at == fresh.now
    closed = [row for row in rows(fresh) if row.exited_at is not None]
    assert {row.customer_id for row in closed} == {row.customer_id for row in moved}


@pytest.mark.requirement("RFM-06")
def test_deciding_the_same_run_again_changes_nothing(fresh: World, marts: Marts) -> None:
    people(fresh, 20)
    score(fresh, marts, "r1")
    again = score(fresh, marts, "r1")
    assert (again.state, again.entered, again.exited) == (GateState.ACCEPTED, 0, 0)
    assert len(runs(fresh)) == 1


@pytest.mark.requirement("RFM-06")
def test_a_fall_in_orders_is_held_and_touches_nothing(fresh: World, marts: Marts) -> None:
    people(fresh, 60)
    score(fresh, marts, "r1")
    before = [(row.customer_id, row.segment, row.exited_at) for row in rows(fresh)]
    fresh.execute("DELETE FROM raw_shopify.orders WHERE order_id % 10 = 0")
    fresh.execute("DELETE FROM raw_shopify.customer_statistics")
    with session_scope(fresh.factory) as session:
        statistics.recompute_all(session, fresh.shop_id, touched_at=fresh.now)
    report = score(fresh, marts, "r2")
    assert report.state is GateState.HELD
    assert report.reason is not None
    assert "fewer than at the last accepted run" in report.reason
    assert [(row.customer_id, row.segment, row.exited_at) for row in rows(fresh)] == before
    held = runs(fresh)["r2"]
    assert (held.held_reason, held.moved_count) == (report.reason, None)
    # asked again, the answer stands
    assert score(fresh, marts, "r2").reason == report.reason


@pytest.mark.requirement("RFM-06")
def test_statistics_that_differ_from_the_orders_are_held(fresh: World, marts: Marts) -> None:
    people(fresh, 20)
    fresh.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    report = score(fresh, marts, "r1")
    assert report.reason is not None
    assert "statistics of 1 customers differ" in report.reason
    assert rows(fresh) == []


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize("customers", [210, 190])
def test_a_swing_is_held_in_a_large_shop_and_passes_in_a_small_one(
    fresh: World, marts: Marts, customers: int
) -> None:
    """The same change of data: everyone's money and time turned upside down."""
    fresh.add_customers(range(1, customers + 1))
    for number in range(1, customers + 1):
        fresh.execute(_STATISTICS, **_turned(fresh, number, number))
    fresh.execute(_ORDERS)
    score(fresh, marts, "r1")
    before = [(row.customer_id, row.segment) for row in rows(fresh)]
    for number in range(1, customers + 1):
        fresh.execute(_STATISTICS, **_turned(fresh, number, customers - number))
    fresh.execute(_ORDERS)
    report = score(fresh, marts, "r2")
    run = runs(fresh)["r2"]
    assert run.moved_count is not None
    assert run.moved_count > customers / 5
    if customers < 200:
        assert report.state is GateState.ACCEPTED
        assert report.entered == run.moved_count
        return
    assert report.state is GateState.HELD
    assert report.reason is not None
    assert f"of {customers} customers would change their segment" in report.reason
    assert [(row.customer_id, row.segment) for row in rows(fresh)] == before
    # the former boundaries stay in force: an order still scores by them
    with session_scope(fresh.factory) as session:
        accepted = session.scalars(
            select(RfmRun.rfm_run_id).where(RfmRun.state == GateState.ACCEPTED)
        ).all()
    assert accepted == ["r1"]


_STATISTICS = """
INSERT INTO raw_shopify.customer_statistics
    (shop_id, customer_id, order_count, total_spent, first_order_at, last_order_at)
VALUES (:shop_id, :customer_id, 1, :total, :at, :at)
ON CONFLICT (shop_id, customer_id) DO UPDATE
    SET total_spent = :total, first_order_at = :at, last_order_at = :at
"""
# One order each, exactly as the statistics say.
_ORDERS = """
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, created_at, updated_at, processed_at, is_test,
    financial_status, currency, current_total, original_total, refunded_total
)
SELECT shop_id, customer_id, '#', customer_id, last_order_at, last_order_at, last_order_at, false,
    'PAID', 'EUR', total_spent, total_spent, 0
FROM raw_shopify.customer_statistics
ON CONFLICT (shop_id, order_id) DO UPDATE SET
    processed_at = excluded.processed_at, current_total = excluded.current_total,
    original_total = excluded.original_total
"""


def _turned(world: World, number: int, rank: int) -> dict[str, object]:
    return {
        "shop_id": world.shop_id,
        "customer_id": number,
        "total": 10 + rank,
        "at": world.now - DAY * (400 - rank),
    }


@pytest.mark.requirement("RFM-06")
def test_a_shop_with_few_buyers_has_no_changes_and_its_first_scores_are_a_baseline(
    fresh: World, marts: Marts
) -> None:
    people(fresh, 4)
    first = score(fresh, marts, "r1")
    assert (first.state, first.buyers, first.entered) == (GateState.ACCEPTED, 4, 4)
    assert {row.segment.value for row in rows(fresh)} == {"potential"}

    fresh.add_customers(range(5, 13))
    for number in range(5, 13):
        fresh.place_orders([number], processed_at=fresh.now - DAY * number)
    fresh.clock.advance(DAY)
    second = score(fresh, marts, "r2")

    assert second.state is GateState.ACCEPTED
    assert second.exited > 0
    opened = [row for row in rows(fresh) if row.exited_at is None]
    assert len(opened) == 12
    assert {row.previous_segment for row in opened} == {None}


@pytest.mark.requirement("RFM-06")
def test_a_held_shop_does_not_hold_another(fresh: World, marts: Marts) -> None:
    people(fresh, 10)
    other = fresh.add_shop(baseline_at=None)
    fresh.add_customer(900, shop_id=other)
    fresh.place_order(900, shop_id=other)
    fresh.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    assert score(fresh, marts, "r1").state is GateState.HELD
    assert score(fresh, marts, "r1", shop_id=other).state is GateState.ACCEPTED
