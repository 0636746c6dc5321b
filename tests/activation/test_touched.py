"""Between full runs: what a few orders do is what a full run with the same boundaries would."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from activation.memberships import MembershipReport, apply_membership_changes
from core.database import session_scope
from core.models import SegmentMembership
from core.models.enums import GateState, MembershipCause
from tests.activation.scores import DAY, people, rows, score
from tests.activation.world import World
from tests.fixtures.marts import Marts

PEOPLE = 25
orders = st.lists(
    st.tuples(
        st.integers(1, PEOPLE + 5),  # some are new
        st.integers(0, 400),
        st.sampled_from(["0", "9.90", "80", "900"]),
        st.booleans(),
    ),
    max_size=12,
)


def everyone(world: World) -> None:
    with session_scope(world.factory) as session:
        apply(session, world)


def apply(session: Session, world: World) -> MembershipReport:
    """What the full run does, with the boundaries in force."""
    return apply_membership_changes(
        session,
        world.shop_id,
        customer_ids=None,
        now=world.now,
        cause=MembershipCause.FULL_RUN,
        run_id="full",
    )


def moves(world: World) -> set[tuple[object, ...]]:
    """All but the cause: who is and was where, from when, by which scores and boundaries."""
    return {
        (
            *(row.customer_id, row.segment, row.previous_segment, row.entered_at, row.exited_at),
            *(row.rfm_run_id, row.r_score, row.f_score, row.m_score),
        )
        for row in rows(world)
    }


def start_of(world: World) -> list[dict[str, Any]]:
    names = [each.name for each in SegmentMembership.__table__.columns]
    names.remove("membership_id")
    return [{name: getattr(row, name) for name in names} for row in rows(world)]


@pytest.mark.requirement("RFM-04", "RFM-06")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(placed=orders)
def test_touching_everyone_equals_a_full_run_with_the_same_boundaries(
    fresh: World, marts: Marts, placed: list[tuple[int, int, str, bool]]
) -> None:
    world = fresh
    world.execute(
        "TRUNCATE crm.segment_memberships, crm.rfm_runs, raw_shopify.orders,"
        " raw_shopify.order_lines, raw_shopify.customers, raw_shopify.customer_statistics,"
        " raw_shopify.customer_touches,"
        " marts.rfm_boundaries, crm.enrollments, crm.messages CASCADE"
    )
    world.set_shop(baseline_at=None)
    people(world, PEOPLE)
    world.add_customers(range(PEOPLE + 1, PEOPLE + 6))
    assert score(world, marts, "r1").state is GateState.ACCEPTED
    start = start_of(world)
    for customer_id, days_ago, total, cancelled in placed:
        world.place_order(
            customer_id,
            processed_at=world.now - days_ago * DAY,
            current_total=Decimal(total),
            cancelled_at=world.now if cancelled else None,
        )
    world.clock.advance(DAY)
    # Touched one by one, by the run that the orders wake.
    assert world.run_cleanly().memberships_closed <= len(placed)
    by_orders = moves(world)
    # The same from the same start, by a full run.
    world.execute("TRUNCATE crm.segment_memberships")
    with session_scope(world.factory) as session:
        session.execute(insert(SegmentMembership), start)
    everyone(world)
    assert moves(world) == by_orders
    world.clock.advance(-DAY)


def assert_chains(world: World) -> None:
    """Every customer's stays follow each other without gap or overlap, and the last is open."""
    stays = defaultdict(list)
    for row in rows(world):
        stays[row.customer_id].append(row)
    for each in stays.values():
        assert [row.exited_at is None for row in each] == [False] * (len(each) - 1) + [True]
        for before, after in pairwise(each):
            assert before.exited_at == after.entered_at >= before.entered_at
            assert after.previous_segment == before.segment != after.segment
            assert before.exit_cause == after.cause
            assert before.exit_run_id == after.run_id


def at_once(*work: Callable[[], object]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(len(work))

    def each(task: Callable[[], object]) -> None:
        try:
            start.wait()
            task()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=each, args=(task,)) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.requirement("RFM-06")
def test_transitions_happen_once_with_runs_and_orders_at_once(fresh: World, marts: Marts) -> None:
    """Two activation runs, a full run and orders, all at work on the same customers."""
    world = fresh
    people(world, PEOPLE)
    score(world, marts, "r1")
    world.run_cleanly()
    world.clock.advance(DAY)

    def order() -> None:
        for number in range(1, 9):
            world.place_orders([number] * 2, current_total=Decimal(900))

    for number in range(2, 5):
        at_once(
            order,
            lambda: world.run_cleanly(run_id="a"),
            lambda: world.run_cleanly(run_id="b"),
            partial(score, world, marts, f"r{number}"),
        )
        assert_chains(world)
    world.run_cleanly()
    assert_chains(world)
    before = len(rows(world))
    everyone(world)
    assert len(rows(world)) == before  # nothing is left to do
    with session_scope(world.factory) as session:
        welcomed = session.query(SegmentMembership).filter_by(customer_id=1).count()
    assert welcomed > 1
    assert len(world.provider.addresses()) == len(set(world.provider.addresses()))


@pytest.mark.requirement("RFM-06")
def test_a_second_run_waits_for_the_first_and_finds_nothing_left(
    fresh: World, marts: Marts
) -> None:
    """A customer whom neither knows yet: without the lock both open a stay, and one run fails."""
    world = fresh
    people(world, PEOPLE)
    score(world, marts, "r1")
    world.buyers([77])
    found: list[MembershipReport] = []

    def second() -> None:
        with session_scope(world.factory) as session:
            session.execute(text("SET application_name = 'second'"))
            found.append(apply(session, world))

    thread = threading.Thread(target=second)
    with session_scope(world.factory) as session:
        assert apply(session, world).entered == 1
        thread.start()
        wait_until_blocked(world, "second")
        assert found == []
    thread.join()
    assert found == [MembershipReport()]
    assert len([row for row in rows(world) if row.customer_id == 77]) == 1


def wait_until_blocked(world: World, name: str) -> None:
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = :name AND wait_event_type = 'Lock'"
    )
    for _ in range(1000):
        with session_scope(world.factory) as session:
            waiting: int = session.execute(blocked, {"name": name}).scalar_one()
        if waiting:
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} waits for nobody")


@pytest.mark.requirement("RFM-06")
def test_a_run_whose_clock_is_behind_ends_no_stay_before_it_began(
    fresh: World, marts: Marts
) -> None:
    """It took its instant first and the lock second: the stay ended before it had begun, and at
    no instant at all was the customer in it, or at two at once."""
    world = fresh
    people(world, PEOPLE)
    score(world, marts, "r1")
    world.run_cleanly()
    world.clock.advance(DAY)
    world.place_orders([1, 1, 1], current_total=Decimal(900))
    world.run_cleanly()
    world.execute("UPDATE raw_shopify.orders SET is_test = true WHERE customer_id = 1")
    world.clock.advance(-timedelta(minutes=1))
    world.execute("DELETE FROM raw_shopify.customer_statistics WHERE customer_id = 1")
    everyone(world)
    assert_chains(world)
    assert len([row for row in rows(world) if row.customer_id == 1]) == 3


@pytest.mark.requirement("RFM-06")
def test_the_database_refuses_a_second_open_stay_and_one_that_ends_before_it_began(
    fresh: World, marts: Marts
) -> None:
    people(fresh, PEOPLE)
    score(fresh, marts, "r1")
    with pytest.raises(IntegrityError, match="uq_segment_memberships__one_open"):
        fresh.execute(
            "INSERT INTO crm.segment_memberships (shop_id, customer_id, segment, entered_at, cause,"
            " r_score, f_score, m_score) VALUES (:shop_id, 1, 'lost', :now, 'order', 1, 1, 1)",
            shop_id=fresh.shop_id,
            now=fresh.now,
        )
    with pytest.raises(IntegrityError, match="ends_after_it_began"):
        fresh.execute(
            "UPDATE crm.segment_memberships SET exited_at = entered_at - interval '1 s'"
            " WHERE customer_id = 1"
        )


@pytest.mark.requirement("RFM-06")
def test_who_is_gone_left_by_deletion(fresh: World, marts: Marts) -> None:
    people(fresh, PEOPLE)
    score(fresh, marts, "r1")
    fresh.clock.advance(DAY)
    fresh.set_customer(3, deleted_at=fresh.now)
    everyone(fresh)
    [row] = [row for row in rows(fresh) if row.customer_id == 3]
    assert (row.exit_cause, row.exit_run_id) == (MembershipCause.DELETE, "full")
    assert (row.cause, row.exited_at) == (MembershipCause.BASELINE, fresh.now)
