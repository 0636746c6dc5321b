"""Who enters the welcome flow, and who never does."""

from datetime import timedelta

import pytest

from activation.automation.enrollment import EnrolmentReport, enrol
from activation.automation.switching import switch_off
from core.database import session_scope
from core.models.enums import EnrollmentState
from tests.activation.world import World

HOUR = timedelta(hours=1)


def enrol_all(world: World) -> EnrolmentReport:
    with session_scope(world.factory) as session:
        return enrol(session, world.shop_id, customer_ids=None, now=world.now, run_id="run-1")


@pytest.mark.requirement("FLOW-01")
def test_the_first_counted_order_enrols_at_its_own_time(world: World) -> None:
    world.add_customer(1)
    world.clock.advance(HOUR)
    order_id = world.place_order(1)
    world.clock.advance(HOUR)

    assert enrol_all(world) == EnrolmentReport(enrolled=1)

    [enrollment] = world.enrollments()
    assert enrollment.moment_at == enrollment.due_at == world.now - HOUR
    assert (enrollment.order_id, enrollment.entry_key) == (order_id, "first")
    assert enrollment.state is EnrollmentState.ACTIVE
    assert (enrollment.run_id, enrollment.is_held_out) == ("run-1", False)


@pytest.mark.requirement("AUTO-05")
def test_nobody_enters_twice(world: World) -> None:
    world.buyers([1, 2])
    assert enrol_all(world).enrolled == 2
    world.place_order(1)
    assert enrol_all(world) == EnrolmentReport()


@pytest.mark.requirement("AUTO-02", "SHOP-08")
@pytest.mark.parametrize(
    "order",
    [
        {"is_test": True},
        {"financial_status": "VOIDED"},
        {"financial_status": "REFUNDED"},
        {"original_total": 49, "refunded_total": 49},
    ],
)
def test_an_order_that_does_not_count_enrols_nobody(world: World, order: dict[str, object]) -> None:
    world.add_customer(1)
    world.place_order(1, **order)
    assert enrol_all(world) == EnrolmentReport()
    world.place_order(1)  # the control: the same customer, an order that counts
    assert enrol_all(world) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("AUTO-02")
def test_cancelled_orders_and_guests_enrol_nobody(world: World) -> None:
    world.add_customer(1)
    world.place_order(1, cancelled_at=world.now)
    world.place_order(None)
    assert enrol_all(world) == EnrolmentReport()


@pytest.mark.requirement("AUTO-02", "SHOP-08")
def test_historical_orders_never_enrol_nor_do_later_ones_of_that_customer(world: World) -> None:
    world.buyers([2])
    world.add_customer(1)
    world.place_order(1, processed_at=world.now - 3 * HOUR)  # the first sync began 2 hours ago
    assert enrol_all(world) == EnrolmentReport(enrolled=1)
    world.place_order(1)
    assert enrol_all(world) == EnrolmentReport()
    assert [each.customer_id for each in world.enrollments()] == [2]


@pytest.mark.requirement("FLOW-01")
def test_orders_from_before_the_switch_on_do_not_enrol(world: World) -> None:
    world.add_customer(1)
    world.place_order(1, processed_at=world.now - timedelta(seconds=1))
    assert enrol_all(world) == EnrolmentReport()


@pytest.mark.requirement("FLOW-01")
def test_a_switched_off_flow_enrols_nobody(world: World) -> None:
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, "welcome", now=world.now)
    world.buyers([1])
    assert enrol_all(world) == EnrolmentReport()


@pytest.mark.requirement("SHOP-08")
@pytest.mark.parametrize("column", ["first_sync_completed_at", "baseline_at"])
def test_nothing_is_evaluated_before_the_shop_is_ready_and_everything_after(
    world: World, column: str
) -> None:
    world.set_shop(**{column: None})
    world.buyers([1])
    assert enrol_all(world) == EnrolmentReport()
    world.set_shop(**{column: world.now})
    assert enrol_all(world) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("FLOW-01")
def test_who_is_found_too_late_is_recorded_and_not_mailed(world: World) -> None:
    world.buyers([1])
    world.clock.advance(timedelta(days=3, seconds=1))
    world.buyers([2])
    assert enrol_all(world) == EnrolmentReport(enrolled=1, too_late=1)
    of = {each.customer_id: each for each in world.enrollments()}
    assert (of[1].state, of[1].due_at) == (EnrollmentState.TOO_LATE, None)
    assert of[2].state is EnrollmentState.ACTIVE
    assert enrol_all(world) == EnrolmentReport()


@pytest.mark.requirement("FLOW-01")
def test_of_two_first_orders_at_the_same_instant_the_lower_id_is_the_first(world: World) -> None:
    world.add_customer(1)
    first, _ = world.place_order(1), world.place_order(1)
    enrol_all(world)
    [enrollment] = world.enrollments()
    assert enrollment.order_id == first


@pytest.mark.requirement("FLOW-01")
def test_only_the_asked_customers_are_evaluated(world: World) -> None:
    world.buyers([1, 2])
    with session_scope(world.factory) as session:
        report = enrol(session, world.shop_id, customer_ids=[2], now=world.now, run_id=None)
    assert report.enrolled == 1
    assert [each.customer_id for each in world.enrollments()] == [2]
