"""The loop of one run: from an order to a mail, for all shops, whatever fails in one."""

from datetime import timedelta

import pytest

from activation.automation.switching import switch_off, switch_on
from core.database import session_scope
from core.errors import TransientError
from core.models.enums import EnrollmentState, MessageState
from core.shopify.client import ShopifyClient
from tests.activation.world import World


@pytest.mark.requirement("FLOW-01", "PIPE-01", "EMAIL-05")
def test_a_first_order_becomes_one_mail(world: World) -> None:
    world.buyers([1])

    report = world.run_cleanly()

    [mail] = world.provider.accepted
    message = world.message()
    assert mail["to"] == ["c1@example.com"]
    assert mail["from"] == "Nordlicht Keramik <hello@mail.example.com>"
    assert mail["reply_to"] == "shop@example.com"
    assert mail["subject"] == "Anna, welcome to Nordlicht Keramik" == message.subject
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["headers"]["List-Unsubscribe"].startswith("<http://127.0.0.1:8400/unsubscribe/1.")
    assert mail["tags"] == [
        {"name": "shop_id", "value": str(world.shop_id)},
        {"name": "send_id", "value": str(message.message_id)},
        {"name": "automation", "value": "welcome"},
    ]
    assert (message.state, message.provider_message_id) == (MessageState.SENT, mail["id"])
    assert report.counts() | {"passes": 0} == {
        **dict.fromkeys(report.counts(), 0),
        "memberships_opened": 1,
        "consents_recorded": 1,
        "enrolled": 1,
        "messages_queued": 1,
        "requests": 1,
        "mails_accepted": 1,
    }


@pytest.mark.requirement("AUTO-05")
def test_running_again_sends_nothing_more(world: World) -> None:
    world.buyers([1, 2, 3])
    world.run_cleanly()
    world.place_order(1)

    again = world.run_cleanly()

    assert again.mails_accepted == again.enrolled == 0
    world.assert_each_sent_once([1, 2, 3])


@pytest.mark.requirement("FLOW-01")
def test_the_mail_waits_for_the_delay(world: World) -> None:
    other = world.add_shop()
    world.switch_welcome_on(delay=timedelta(hours=1), shop_id=other)
    world.add_customer(1, shop_id=other)
    world.place_order(1, shop_id=other)

    world.clock.advance(timedelta(minutes=59))
    world.run_cleanly()
    assert world.provider.accepted == []
    [enrollment] = world.enrollments()
    assert enrollment.state is EnrollmentState.ACTIVE

    world.clock.advance(timedelta(minutes=1))
    world.run_cleanly()
    assert world.provider.addresses() == ["c1@example.com"]


@pytest.mark.requirement("PIPE-01")
def test_a_failure_in_one_shop_is_told_and_stops_no_other(world: World) -> None:
    other = world.add_shop()
    world.switch_welcome_on(shop_id=other)
    world.buyers([1])
    world.add_customer(2, shop_id=other)
    world.place_order(2, shop_id=other)
    world.execute(
        "UPDATE crm.automation_versions SET definition = '{}' WHERE shop_id = :shop_id",
        shop_id=world.shop_id,
    )

    report = world.run()

    # Nobody is enrolled by orders that could not be judged either.
    assert [(each.stage, each.shop_id) for each in report.failures] == [("touched", world.shop_id)]
    assert "cannot be read" in report.failures[0].message
    assert world.provider.addresses() == ["c2@example.com"]
    assert report.counts()["failures"] == 1


@pytest.mark.requirement("PIPE-01")
def test_a_bug_that_one_shop_brings_out_stops_no_other(world: World) -> None:
    """Only errors that we had thought of were caught: any other ended the run, and so did the next
    one five seconds later, before any shop behind that one had its turn.
    """
    other = world.add_shop()
    world.switch_welcome_on(shop_id=other)
    world.buyers([1])
    world.add_customer(2, shop_id=other)
    world.place_order(2, shop_id=other)
    calls = iter([ValueError("not thought of")])

    def fail_once() -> None:
        for error in calls:
            raise error

    world.provider.before_call = fail_once
    report = world.run()
    [failure] = report.failures
    assert (failure.stage, failure.shop_id) == ("send", world.shop_id)
    assert failure.message == "an error of EcomCRM itself: ValueError"
    assert world.provider.addresses() == ["c2@example.com"]


@pytest.mark.requirement("PIPE-01")
def test_a_database_error_is_told_without_the_customers_data(world: World) -> None:
    world.buyers([1])
    world.execute("ALTER VIEW marts.customer_segments RENAME TO away")
    try:
        report = world.run()
    finally:
        world.execute("ALTER VIEW marts.away RENAME TO customer_segments")
    [failure] = report.failures
    assert (failure.stage, failure.message) == ("touched", "database: UndefinedTable 42P01")
    assert world.run_cleanly().memberships_opened == 1
    world.assert_each_sent_once([1])


def test_a_run_ends_when_it_is_told_to(world: World) -> None:
    world.buyers(range(1, 8))
    world.run_cleanly(stop=lambda: len(world.provider.calls) >= 1, batch_size=3)
    assert len(world.provider.calls) == 1
    assert world.batches()[0].message_count == 3
    world.run_cleanly()
    world.assert_each_sent_once(range(1, 8))


def test_a_run_ends_after_its_longest_time(world: World) -> None:
    world.buyers([1])
    assert world.run_cleanly(longest=timedelta()).passes == 0
    assert world.provider.calls == []


@pytest.mark.requirement("PIPE-01", "EMAIL-02")
def test_a_run_waits_shortly_for_a_consent_that_is_about_to_come(world: World) -> None:
    """So that an order becomes a mail in one run though Shopify told the consent a little later."""
    world.buyers([1])
    world.set_customer(1, consent_state=None)

    def told_meanwhile(seconds: float) -> None:
        world.clock.advance(timedelta(seconds=seconds))
        world.execute("DELETE FROM raw_shopify.refresh_requests")
        world.set_customer(1, consent_state="SUBSCRIBED")

    asked: list[int] = []

    def client_of(shop_id: int) -> ShopifyClient:
        asked.append(shop_id)
        raise TransientError("Shopify does not answer")

    world.run_cleanly(patience=timedelta(seconds=5), sleep=told_meanwhile, client_of=client_of)
    assert asked == [world.shop_id]
    world.assert_each_sent_once([1])


def test_a_run_does_not_wait_for_what_it_cannot_move(world: World) -> None:
    """A failed stage left its rows due, and the run spun until its patience was over."""
    world.buyers([1])
    world.run_cleanly(stop=lambda: bool(world.enrollments()))
    world.execute("UPDATE crm.automation_versions SET definition = '{}'")
    report = world.run(patience=timedelta(seconds=5))
    assert {each.stage for each in report.failures} == {"enrol", "steps"}
    assert len(world.naps) <= 1


@pytest.mark.requirement("PIPE-01")
def test_an_order_worked_on_just_before_the_switch_on_it_meets_is_found(world: World) -> None:
    """Its customer is no longer touched when the switch-on commits."""
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, "welcome", now=world.now)
    switched_on_at = world.now
    world.clock.advance(timedelta(seconds=1))
    world.buyers([1])
    world.run_cleanly()
    with session_scope(world.factory) as session:
        switch_on(session, world.shop_id, "welcome", now=switched_on_at)
    assert world.run_cleanly().enrolled == 1
    world.assert_each_sent_once([1])
