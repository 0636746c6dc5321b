"""Memberships are intervals that follow the view."""

import threading
from decimal import Decimal

import pytest
from sqlalchemy import select

from activation.memberships import MembershipReport, apply_membership_changes
from activation.touched import apply_touched
from core.database import session_scope
from core.models import CustomerTouch, SegmentMembership
from core.models.enums import GateState, MembershipCause
from tests.activation.scores import DAY, people, rows, score
from tests.activation.world import World
from tests.fixtures.marts import Marts


def apply(world: World, customer_ids: list[int] | None) -> MembershipReport:
    with session_scope(world.factory) as session:
        return apply_membership_changes(
            session,
            world.shop_id,
            customer_ids=customer_ids,
            now=world.now,
            cause=MembershipCause.ORDER,
            run_id="run-2",
        )


@pytest.fixture
def scored(fresh: World, marts: Marts) -> World:
    people(fresh, 20)
    assert score(fresh, marts, "r1").state is GateState.ACCEPTED
    fresh.execute("TRUNCATE raw_shopify.customer_touches")
    fresh.clock.advance(DAY)
    return fresh


def stays(world: World, customer_id: int) -> list[SegmentMembership]:
    return [row for row in rows(world) if row.customer_id == customer_id]


def touched(world: World) -> list[int]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(CustomerTouch.customer_id)))


@pytest.mark.requirement("RFM-06")
def test_an_order_moves_its_customer_within_the_same_run(scored: World) -> None:
    scored.place_orders([1, 1, 1], current_total=Decimal(900))

    report = scored.run_cleanly()

    before, after = stays(scored, 1)
    assert (report.memberships_opened, report.memberships_closed) == (1, 1)
    assert before.exited_at == after.entered_at == scored.now
    assert after.segment.value == "champion"
    assert (after.previous_segment, after.cause) == (before.segment, MembershipCause.ORDER)
    assert (after.run_id, after.rfm_run_id, after.r_score) == ("run-1", "r1", 5)
    assert apply(scored, None) == MembershipReport()


@pytest.mark.requirement("RFM-06")
def test_only_the_asked_customers_are_applied(scored: World) -> None:
    scored.place_orders([1, 1, 1], current_total=Decimal(900))
    scored.place_orders([2, 2, 2], current_total=Decimal(900))
    assert apply(scored, [2]) == MembershipReport(entered=1, exited=1)
    assert apply(scored, []) == MembershipReport()
    assert len(stays(scored, 1)) == 1


@pytest.mark.requirement("RFM-06")
def test_a_customer_first_seen_later_enters_nothing(scored: World) -> None:
    scored.buyers([77])
    apply(scored, [77])
    [row] = stays(scored, 77)
    assert (row.previous_segment, row.cause) == (None, MembershipCause.ORDER)


@pytest.mark.requirement("RFM-06")
def test_who_is_gone_from_the_marts_leaves_their_segment(scored: World) -> None:
    scored.set_customer(3, deleted_at=scored.now)
    assert apply(scored, None) == MembershipReport(entered=0, exited=1)
    [row] = stays(scored, 3)
    assert row.exited_at == scored.now


@pytest.mark.requirement("RFM-06")
def test_a_shop_that_falls_below_five_buyers_has_no_changes(scored: World) -> None:
    before = len(rows(scored))
    scored.execute(
        "UPDATE raw_shopify.customer_statistics"
        " SET order_count = 0, first_order_at = NULL, last_order_at = NULL WHERE customer_id > 4"
    )
    assert apply(scored, None) == MembershipReport()
    assert len(rows(scored)) == before


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize("column", ["first_sync_completed_at", "baseline_at"])
def test_orders_change_no_membership_before_the_shop_is_ready(world: World, column: str) -> None:
    world.set_shop(**{column: None})
    world.buyers([1])
    assert apply(world, [1]) == MembershipReport()
    assert rows(world) == []
    assert world.run_cleanly().memberships_opened == 0
    assert touched(world) == [1]


@pytest.mark.requirement("RFM-06")
def test_an_order_that_comes_while_its_customer_is_applied_waits_for_nobody_and_is_not_lost(
    scored: World,
) -> None:
    """Else the second order of a quick pair would wait for the run, or for the next full one."""
    scored.place_orders([1])
    scored.place_orders([2])
    with session_scope(scored.factory) as session:
        done = apply_touched(session, scored.shop_id, now=scored.now, run_id="a", limit=10)
        assert done.claimed == 2
        scored.place_orders([2] * 3, current_total=Decimal(900))
    assert touched(scored) == [2]
    scored.run_cleanly()
    assert (touched(scored), stays(scored, 2)[-1].segment.value) == ([], "champion")


@pytest.mark.requirement("RFM-06")
def test_touches_of_a_run_that_fails_come_again(scored: World) -> None:
    scored.place_orders([1, 1, 1], current_total=Decimal(900))
    session = scored.factory()
    assert apply_touched(session, scored.shop_id, now=scored.now, run_id="a", limit=10).claimed
    session.close()
    assert touched(scored) == [1]
    assert scored.run_cleanly().memberships_opened == 1


@pytest.mark.requirement("RFM-06")
def test_touches_are_applied_oldest_first_and_no_more_than_asked(scored: World) -> None:
    for number in (5, 3, 5, 4):
        scored.place_orders([number])
    with session_scope(scored.factory) as session:
        apply_touched(session, scored.shop_id, now=scored.now, run_id="a", limit=3)
    assert touched(scored) == [4]


@pytest.mark.requirement("RFM-06")
def test_applying_from_several_sides_at_once_leaves_one_open_row_each(scored: World) -> None:
    for number in range(1, 9):
        scored.place_orders([number] * 3, current_total=Decimal(900))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            apply(scored, None)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    opened = [row.customer_id for row in rows(scored) if row.exited_at is None]
    assert sorted(opened) == sorted(set(opened)) == list(range(1, 21))


@pytest.mark.requirement("RFM-06")
def test_the_segment_at_any_past_date_is_a_look_up(scored: World) -> None:
    start = scored.now
    scored.place_orders([1, 1, 1], current_total=Decimal(900))
    scored.clock.advance(DAY)
    apply(scored, [1])

    def at(when: object) -> str:
        with session_scope(scored.factory) as session:
            return (
                session.scalars(
                    select(SegmentMembership.segment).where(
                        SegmentMembership.customer_id == 1,
                        SegmentMembership.entered_at <= when,
                        (SegmentMembership.exited_at > when)
                        | SegmentMembership.exited_at.is_(None),
                    )
                )
                .one()
                .value
            )

    assert at(start) != "champion"
    assert at(scored.now) == "champion"
