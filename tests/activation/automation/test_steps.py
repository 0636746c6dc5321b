"""Due enrolments move on: waits, mails, exits."""

from datetime import timedelta

import pytest

from activation.automation.enrollment import enrol
from activation.automation.steps import run_due_steps
from activation.automation.switching import set_delay, switch_off
from core.database import session_scope
from core.models.enums import DeferReason, EnrollmentState, MessageState, SkipReason
from tests.activation.world import World

HOUR = timedelta(hours=1)


@pytest.mark.requirement("FLOW-01", "EMAIL-02")
def test_a_message_is_queued_or_skipped_with_its_reason_in_the_same_step(world: World) -> None:
    world.buyers([1, 2])
    world.set_customer(2, consent_state="NOT_SUBSCRIBED")
    report = world.run_cleanly()
    assert (report.messages_queued, report.messages_skipped) == (1, 1)
    sent, skipped = world.messages()
    assert sent.state is MessageState.SENT
    assert (skipped.state, skipped.skip_reason) == (MessageState.SKIPPED, SkipReason.NOT_SUBSCRIBED)
    assert (skipped.email, skipped.finished_at) == ("c2@example.com", world.now)
    assert {each.state for each in world.enrollments()} == {EnrollmentState.COMPLETED}
    assert world.provider.addresses() == ["c1@example.com"]


@pytest.mark.requirement("FLOW-01")
def test_an_order_that_stops_counting_during_the_delay_ends_the_flow(world: World) -> None:
    with session_scope(world.factory) as session:
        set_delay(session, world.shop_id, "welcome", "delay", HOUR, now=world.now)
    world.add_customers([1, 2, 3])
    orders = [world.place_order(number) for number in (1, 2, 3)]
    world.run_cleanly()
    world.change_order(orders[0], cancelled_at=world.now)
    world.change_order(orders[1], customer_id=3)
    world.clock.advance(HOUR)

    report = world.run_cleanly()

    assert report.exited == 2
    exited = [each for each in world.enrollments() if each.state is EnrollmentState.EXITED]
    assert {each.exit_reason for each in exited} == {"order_no_longer_counts"}
    world.assert_each_sent_once([3])


@pytest.mark.requirement("AUTO-07")
def test_a_flow_switched_off_meanwhile_sends_nothing(world: World) -> None:
    with session_scope(world.factory) as session:
        set_delay(session, world.shop_id, "welcome", "delay", HOUR, now=world.now)
    world.buyers([1])
    world.run_cleanly()
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, "welcome", now=world.now)
    world.clock.advance(HOUR)
    world.run_cleanly()
    assert world.message().skip_reason is SkipReason.AUTOMATION_OFF
    assert world.provider.calls == []


def test_a_changed_delay_holds_for_who_has_not_reached_it(world: World) -> None:
    with session_scope(world.factory) as session:
        set_delay(session, world.shop_id, "welcome", "delay", HOUR, now=world.now)
    world.buyers([1])
    world.run_cleanly()
    with session_scope(world.factory) as session:
        set_delay(session, world.shop_id, "welcome", "delay", 2 * HOUR, now=world.now)
    world.buyers([2])
    world.run_cleanly()
    world.clock.advance(HOUR)
    world.run_cleanly()
    assert world.provider.addresses() == ["c1@example.com"]
    world.clock.advance(HOUR)
    world.run_cleanly()
    world.assert_each_sent_once([1, 2])


@pytest.mark.requirement("FLOW-01")
def test_a_mail_that_cannot_leave_in_time_never_leaves(world: World) -> None:
    world.set_shop(postal_address=None)
    world.buyers([1])
    world.run_cleanly()
    assert world.message().defer_reason is DeferReason.NO_POSTAL_ADDRESS
    world.clock.advance(timedelta(days=3, seconds=1))
    world.set_shop(postal_address="A street 1")
    world.run_cleanly()
    assert world.message().skip_reason is SkipReason.TOO_LATE
    assert world.provider.calls == []


@pytest.mark.requirement("AUTO-05")
def test_a_message_that_exists_already_is_not_made_again(world: World) -> None:
    world.buyers([1])
    world.run_cleanly()
    world.execute("UPDATE crm.enrollments SET state = 'active', step_position = 0, due_at = :now",
                  now=world.now)  # fmt: skip
    with session_scope(world.factory) as session:
        report = run_due_steps(
            session,
            world.shop_id,
            secret_key=world.settings.secret_key,
            now=world.now,
            run_id=None,
        )
    assert (report.claimed, report.queued) == (1, 0)
    world.assert_each_sent_once([1])


@pytest.mark.requirement("EMAIL-02")
def test_unknown_consent_waits_asks_once_and_is_then_skipped(world: World) -> None:
    world.buyers([1])
    world.set_customer(1, consent_state=None)
    with session_scope(world.factory) as session:
        enrol(session, world.shop_id, customer_ids=None, now=world.now, run_id=None)
        run_due_steps(
            session,
            world.shop_id,
            secret_key=world.settings.secret_key,
            now=world.now,
            run_id=None,
        )
    message = world.message()
    assert (message.state, message.defer_reason) == (
        MessageState.QUEUED,
        DeferReason.CONSENT_UNKNOWN,
    )
    assert message.due_at == world.now + timedelta(seconds=1)
    world.execute("DELETE FROM raw_shopify.refresh_requests")  # read, and still not told
    world.clock.advance(timedelta(seconds=1))
    world.run_cleanly()
    assert world.message().skip_reason is SkipReason.CONSENT_UNKNOWN
    assert world.provider.calls == []
