"""Who leaves a flow before its end: at a due step, at freezing, right before the first attempt."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from activation.automation.actions import SendEmail, Wait
from activation.automation.definition import (
    AbandonedCheckout,
    AnyOrder,
    Definition,
    EnteredSegment,
    ExitOn,
    Silence,
)
from activation.automation.presets import WELCOME
from activation.automation.switching import switch_off
from activation.outbox.freeze import freeze_due
from core.database import session_scope
from core.models import Checkout, Enrollment
from core.models.enums import EnrollmentState, ExitReason, MessageState, Segment, SkipReason
from tests.activation.automation.flow import DAY, HOUR, Flow, definition
from tests.activation.world import World

ONE = SendEmail(step_key="one", template="welcome")
WAIT = Wait(step_key="wait", seconds=3600)
CART = definition(WAIT, ONE, trigger=AbandonedCheckout(), keeps_quiet_hours=False)
LOYAL = EnteredSegment((Segment.LOYAL, Segment.CHAMPION))
GOAL = definition(WAIT, ONE, trigger=LOYAL, exit_on=(ExitOn.ORDERED,), keeps_quiet_hours=False)
STAYS = definition(WAIT, ONE, trigger=LOYAL, exit_on=(ExitOn.LEFT_SEGMENTS,),
                   keeps_quiet_hours=False)  # fmt: skip
SILENT = definition(WAIT, ONE, trigger=Silence(days=30), keeps_quiet_hours=False)
ORDER = definition(WAIT, ONE, trigger=AnyOrder(), keeps_quiet_hours=False)


def cart(world: World, **columns: Any) -> None:
    with session_scope(world.factory) as session:
        session.add(
            Checkout(
                **{
                    "shop_id": world.shop_id,
                    "checkout_key": "c1",
                    "token": "t1",
                    "customer_id": 1,
                    "email": "Cart@example.com",
                    "recovery_url": "https://shop.example.com/c1",
                    "created_at": world.now,
                    "updated_at": world.now,
                    "currency": "EUR",
                    "total": 10,
                    **columns,
                }
            )
        )


def enter_cart(world: World, flow: Flow) -> int:
    cart(world)
    return flow.enter(1, checkout_key="c1", entry_key="c1")


def enter_loyal(world: World, flow: Flow) -> int:
    flow.stay(1, "loyal")
    return flow.enter(1)


def enter_silence(world: World, flow: Flow) -> int:
    order = world.place_order(1, processed_at=world.now - 30 * DAY)
    return flow.enter(1, order_id=order, entry_key=str(order))


def enter_order(world: World, flow: Flow) -> int:
    order = world.place_order(1)
    return flow.enter(1, order_id=order, entry_key=str(order))


def orders(world: World, _: Flow) -> None:
    world.place_order(1)


def orders_by_token(world: World, _: Flow) -> None:
    """As a guest, under another address; and takes it back at once."""
    world.place_order(None, checkout_token="t1", cancelled_at=world.now)


def orders_as_guest(world: World, _: Flow) -> None:
    world.place_order(None, email=" cart@Example.com ")


def orders_as_namesake(world: World, _: Flow) -> None:
    world.add_customer(7, email="cart@example.com")
    world.place_order(7)


def completes(world: World, _: Flow) -> None:
    world.execute("UPDATE raw_shopify.checkouts SET completed_at = :now", now=world.now)


def deletes(world: World, _: Flow) -> None:
    world.execute("UPDATE raw_shopify.checkouts SET deleted_at = :now", now=world.now)


def leaves(_: World, flow: Flow) -> None:
    flow.stay(1, "at_risk")


def loses_order(world: World, _: Flow) -> None:
    world.change_order(world.next_order, cancelled_at=world.now)


Happening = Callable[[World, Flow], Any]
CASES: list[tuple[Definition, Happening, Happening, ExitReason]] = [
    (CART, enter_cart, orders, ExitReason.ORDERED),
    (CART, enter_cart, orders_by_token, ExitReason.ORDERED),
    (CART, enter_cart, orders_as_guest, ExitReason.ORDERED),
    (CART, enter_cart, orders_as_namesake, ExitReason.ORDERED),
    (CART, enter_cart, completes, ExitReason.CHECKOUT_COMPLETED),
    (CART, enter_cart, deletes, ExitReason.CHECKOUT_GONE),
    (GOAL, enter_loyal, orders, ExitReason.ORDERED),
    (STAYS, enter_loyal, leaves, ExitReason.LEFT_SEGMENTS),
    (SILENT, enter_silence, orders, ExitReason.ORDERED),
    (ORDER, enter_order, loses_order, ExitReason.ORDER_GONE),
]
exits = pytest.mark.parametrize(
    ("made", "enter", "happens", "reason"),
    CASES,
    ids=[f"{enter.__name__}-{happens.__name__}" for _, enter, happens, _ in CASES],
)


def begin(world: World, made: Definition, enter: Happening) -> tuple[Flow, int]:
    """An hour into a flow, so that its mail is due next."""
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, WELCOME, now=world.now)
    world.add_customers([1])
    flow = Flow.add(world, made)
    enrollment_id: int = enter(world, flow)
    flow.run()
    assert flow.enrollment(enrollment_id).state is EnrollmentState.ACTIVE
    world.clock.advance(HOUR)
    return flow, enrollment_id


def assert_left(enrollment: Enrollment, reason: ExitReason) -> None:
    assert (enrollment.state, enrollment.exit_reason) == (EnrollmentState.EXITED, reason.value)
    assert enrollment.due_at is None
    assert enrollment.finished_at is not None


@pytest.mark.requirement("FLOW-02", "FLOW-03", "FLOW-04", "FLOW-05")
@exits
def test_at_a_due_step_they_leave_without_a_mail(
    world: World, made: Definition, enter: Happening, happens: Happening, reason: ExitReason
) -> None:
    flow, enrollment_id = begin(world, made, enter)
    happens(world, flow)
    assert flow.run().exited == 1
    assert_left(flow.enrollment(enrollment_id), reason)
    assert world.messages() == []


@pytest.mark.requirement("FLOW-02", "FLOW-03", "FLOW-04", "FLOW-05")
@exits
def test_when_the_mail_is_frozen_it_is_asked_again(
    world: World, made: Definition, enter: Happening, happens: Happening, reason: ExitReason
) -> None:
    flow, enrollment_id = begin(world, made, enter)
    flow.run()
    assert flow.enrollment(enrollment_id).state is EnrollmentState.COMPLETED
    assert world.message().state is MessageState.QUEUED
    happens(world, flow)
    world.run_cleanly()
    left = next(each for each in world.messages() if each.enrollment_id == enrollment_id)
    assert (left.state, left.skip_reason) == (MessageState.SKIPPED, SkipReason.EXITED)
    assert_left(flow.enrollment(enrollment_id), reason)
    assert "one" not in [each.step_key for each in world.messages() if each.sent_at]


@pytest.mark.requirement("FLOW-02")
@pytest.mark.parametrize(
    ("made", "enter", "happens", "reason"), [CASES[0], CASES[3], CASES[7], CASES[9]]
)
def test_right_before_the_first_attempt_it_is_asked_once_more(
    world: World, made: Definition, enter: Happening, happens: Happening, reason: ExitReason
) -> None:
    flow, enrollment_id = begin(world, made, enter)
    flow.run()
    happened: list[str] = []

    def once(point: str) -> None:
        if point == "frozen" and not happened:
            happened.append(point)
            happens(world, flow)

    world.run_cleanly(checkpoint=once)
    assert happened
    [message] = [each for each in world.messages() if each.enrollment_id == enrollment_id]
    assert (message.state, message.skip_reason) == (MessageState.SKIPPED, SkipReason.EXITED)
    assert_left(flow.enrollment(enrollment_id), reason)
    assert not [mail for mail in world.provider.accepted if mail["to"] == ["c1@example.com"]]


@pytest.mark.requirement("FLOW-02", "FLOW-03")
def test_what_is_no_reason_to_leave_is_none(world: World) -> None:
    """Orders from before, from others, that do not count; other segments of the flow's own."""
    world.add_customers([1, 2, 3])
    before = world.place_order(1, processed_at=world.now - DAY)
    carts = Flow.add(world, CART, key="cart")
    cart(world)
    silent = Flow.add(world, SILENT, key="silent")
    goal = Flow.add(world, GOAL, key="goal")
    stays = Flow.add(world, STAYS, key="stays")
    carts.enter(1, checkout_key="c1")
    silent.enter(1, order_id=before)
    goal.enter(1)
    stays.stay(1, "loyal")
    stays.enter(1)
    carts.run()
    world.place_order(2)
    world.place_order(None, email="other@example.com", checkout_token="t2")
    world.place_order(1, is_test=True)
    world.place_order(1, cancelled_at=world.now)
    world.place_order(1, processed_at=world.now - 2 * DAY)
    stays.stay(1, "champion")
    report = carts.later(HOUR)
    assert (report.exited, report.queued) == (0, 4)


def test_the_last_order_of_a_silence_may_stop_counting(world: World) -> None:
    """It is what the silence was counted from, not what started the flow: who is silent still is.
    All flows ended when their order was gone.
    """
    flow, _ = begin(world, SILENT, enter_silence)
    loses_order(world, flow)
    assert flow.run().queued == 1
    freeze(world)
    assert world.message().state is MessageState.FROZEN


def test_whoever_has_left_gets_nothing_more_even_if_the_reason_is_over(world: World) -> None:
    two = SendEmail(step_key="two", template="welcome")
    made = definition(ONE, WAIT, two, trigger=LOYAL, exit_on=(ExitOn.LEFT_SEGMENTS,),
                      keeps_quiet_hours=True)  # fmt: skip
    world.add_customers([1])
    flow = Flow.add(world, made)
    flow.stay(1, "loyal")
    flow.enter(1)
    flow.run()
    flow.stay(1, "lost")
    assert flow.later(HOUR).exited == 1
    flow.stay(1, "loyal")
    freeze(world)
    assert world.message().skip_reason is SkipReason.EXITED


def test_a_test_goes_through_to_its_end(world: World) -> None:
    world.add_customers([1])
    flow = Flow.add(world, STAYS)
    flow.stay(1, "lost")
    flow.enter(1, is_test=True)
    flow.run()
    assert flow.later(HOUR).queued == 1
    assert world.provider.calls == []
    world.run_cleanly()
    assert world.message().state is MessageState.SENT


def test_the_goal_is_told_apart() -> None:
    assert {each for each in ExitReason if each.is_goal} == {
        ExitReason.ORDERED,
        ExitReason.CHECKOUT_COMPLETED,
    }


def test_flows_without_exits_are_asked_in_no_further_statement(world: World) -> None:
    """Their mails are most of all; each batch would pay for what only other flows have."""
    said: list[str] = []

    def listen(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement)

    world.add_customers([1, 2])
    plain = Flow.add(world, definition(ONE))
    plain.enter(1)
    plain.run()
    engine = world.factory.kw["bind"]
    event.listen(engine, "before_cursor_execute", listen)
    try:
        freeze(world)
        assert world.message().state is MessageState.FROZEN
        assert not [each for each in said if "ends_on_order" in each]
        ending = Flow.add(world, GOAL, key="goal")
        ending.enter(2, moment_at=world.now - HOUR, due_at=world.now - HOUR)
        ending.run()
        said.clear()
        freeze(world)
        assert len([each for each in said if "ends_on_order" in each]) == 1
    finally:
        event.remove(engine, "before_cursor_execute", listen)


def test_an_enrolment_that_is_being_moved_keeps_nobody_waiting(world: World) -> None:
    """A step's transaction locks enrolments before customers, a batch's the other way round."""
    flow, enrollment_id = begin(world, GOAL, enter_loyal)
    flow.run()
    orders(world, flow)
    with session_scope(world.factory) as mover:
        mover.get(Enrollment, (world.shop_id, enrollment_id), with_for_update=True)
        freeze(world)
    assert world.message().skip_reason is SkipReason.EXITED
    assert flow.enrollment(enrollment_id).state is EnrollmentState.COMPLETED


def freeze(world: World) -> None:
    with session_scope(world.factory) as session:
        freeze_due(
            session,
            world.shop_id,
            now=world.now + timedelta(seconds=1),
            settings=world.settings,
            serialise=world.provider.serialise,
        )
