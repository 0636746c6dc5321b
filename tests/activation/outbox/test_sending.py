"""What each answer of the provider means for the batch and its messages."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from activation.outbox.packing import unpack
from activation.provider import ProviderAnswer, Unreachable
from activation.work import steps_due
from core.database import session_scope
from core.errors import TransientError
from core.models import DeliveryAttempt, SendPace
from core.models.enums import AttemptOutcome, BatchState, DeferReason, MessageState, SkipReason
from tests.activation import fake_provider as fake
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World, mails


def attempts(world: World) -> list[DeliveryAttempt]:
    with session_scope(world.factory) as session:
        return list(
            session.scalars(
                select(DeliveryAttempt).order_by(DeliveryAttempt.batch_id, DeliveryAttempt.attempt)
            )
        )


def pace(world: World) -> SendPace:
    with session_scope(world.factory) as session:
        return session.get_one(SendPace, world.shop_id)


def retry(world: World) -> None:
    """The time for another try has come."""
    world.end_leases()
    world.run_cleanly()


@pytest.mark.requirement("AUTO-05")
def test_a_hundred_mails_are_one_request(world: World) -> None:
    world.buyers(range(1, 121))
    report = world.run_cleanly()
    assert [len(mails(body)) for _, body in world.provider.calls] == [100, 20]
    assert report.requests == 2
    world.assert_each_sent_once(range(1, 121))
    assert {(b.state, b.body) for b in world.batches()} == {(BatchState.COMPLETED, None)}
    [first, _] = attempts(world)
    assert (first.outcome, first.status_code, first.run_id) == (
        AttemptOutcome.ACCEPTED,
        200,
        "run-1",
    )


@pytest.mark.requirement("AUTO-05")
def test_an_unknown_outcome_is_tried_again_with_the_same_bytes_and_key(world: World) -> None:
    world.provider.faults = [fake.accept_then_drop, fake.drop]
    world.buyers([1, 2])
    world.run_cleanly()
    [batch] = world.batches()
    assert (batch.state, batch.attempt) == (BatchState.OPEN, 1)
    assert batch.first_unknown_at is not None
    assert batch.body is not None
    assert unpack(batch.body) == world.provider.calls[0][1]
    retry(world)
    retry(world)
    assert len(world.provider.calls) == 3
    assert len(set(world.provider.calls)) == 1
    world.assert_each_sent_once([1, 2])
    assert [each.outcome for each in attempts(world)] == [
        AttemptOutcome.UNKNOWN,
        AttemptOutcome.UNKNOWN,
        AttemptOutcome.ACCEPTED,
    ]


@pytest.mark.requirement("AUTO-05")
def test_after_an_unknown_outcome_nothing_takes_the_batch_apart(world: World) -> None:
    """Not an unsubscribe, not a refusal: the first attempt may have been accepted."""
    world.provider.faults = [fake.accept_then_drop, fake.too_fast, fake.bad_key]
    world.buyers([1, 2])
    world.run_cleanly()
    world.set_customer(1, consent_state="UNSUBSCRIBED")
    retry(world)
    world.end_pauses()
    retry(world)
    world.end_pauses()
    retry(world)
    assert len(world.provider.calls) == 4
    assert len(set(world.provider.calls)) == 1
    world.assert_each_sent_once([1, 2])


@pytest.mark.requirement("EMAIL-01", "EMAIL-02")
def test_who_leaves_between_freeze_and_first_attempt_is_not_mailed(world: World) -> None:
    """The rest of the batch goes out under a new key."""
    world.buyers([1, 2, 3])

    def unsubscribe(step: str) -> None:
        if step == "frozen":
            world.set_customer(2, consent_state="UNSUBSCRIBED")

    report = world.run_cleanly(checkpoint=unsubscribe)

    assert world.provider.addresses() == ["c1@example.com", "c3@example.com"]
    assert report.batches_dissolved == 1
    dissolved, completed = world.batches()
    assert (dissolved.state, dissolved.attempt) == (BatchState.DISSOLVED, 0)
    assert completed.state is BatchState.COMPLETED
    assert dissolved.idempotency_key != completed.idempotency_key
    assert {m.customer_id: m.skip_reason for m in world.messages()} == {
        1: None,
        2: SkipReason.UNSUBSCRIBED,
        3: None,
    }


@pytest.mark.requirement("EMAIL-02")
def test_an_address_that_changed_after_the_freeze_is_frozen_anew(world: World) -> None:
    world.buyers([1])
    changed = {"frozen": lambda: world.set_customer(1, email="new@example.com")}
    world.run_cleanly(checkpoint=lambda step: changed.pop(step, lambda: None)())
    assert world.provider.addresses() == ["new@example.com"]
    assert world.message().email == "new@example.com"


@pytest.mark.requirement("AUTO-05")
def test_a_request_that_never_left_may_still_be_taken_apart(world: World) -> None:
    world.provider.faults = [fake.unreachable]
    world.buyers([1, 2])
    world.run_cleanly()
    [batch] = world.batches()
    assert (batch.first_unknown_at, batch.state) == (None, BatchState.OPEN)
    [attempt] = attempts(world)
    assert attempt.outcome is AttemptOutcome.RETRY
    world.set_customer(1, consent_state="UNSUBSCRIBED")
    retry(world)
    assert world.provider.addresses() == ["c2@example.com"]


@pytest.mark.requirement("AUTO-05")
def test_what_an_event_says_is_sent_is_not_sent_again(world: World) -> None:
    """A refusal that was none: the batch had come apart and its members were frozen anew."""
    world.buyers([1, 2])

    def event(step: str) -> None:
        if step == "frozen":
            world.execute("UPDATE crm.messages SET state = 'sent' WHERE customer_id = 1")

    world.run_cleanly(checkpoint=event)
    assert world.provider.addresses() == ["c2@example.com"]
    assert world.states() == ["sent", "sent"]


@pytest.mark.requirement("AUTO-05")
def test_too_fast_is_sent_again_under_a_new_key_at_a_slower_pace(world: World) -> None:
    world.provider.faults = [fake.too_fast]
    world.buyers([1, 2])
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if seconds:
            world.end_pauses()  # as if that time had passed

    world.run_cleanly(sleep=sleep)
    world.assert_each_sent_once([1, 2])
    (first, _), (second, _) = world.provider.calls
    assert first != second
    # A second was asked for; half a second before its end the slot is near enough to be taken.
    assert max(naps) == pytest.approx(0.5, abs=0.3)
    assert [b.state for b in world.batches()] == [BatchState.DISSOLVED, BatchState.COMPLETED]


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize("fault", [fake.over_quota, fake.bad_key])
def test_a_refusal_of_everything_pauses_the_shop_and_loses_nothing(
    world: World, fault: fake.Fault
) -> None:
    world.provider.faults = [fault]
    world.buyers([1, 2])
    world.run_cleanly()
    assert len(world.provider.calls) == 1
    messages = world.messages()
    assert {(m.state, m.defer_reason) for m in messages} == {
        (MessageState.QUEUED, DeferReason.PROVIDER_PAUSED)
    }
    assert all(m.due_at > world.now + timedelta(minutes=14) for m in messages)
    assert pace(world).paused_reason
    world.end_pauses()
    world.clock.advance(timedelta(hours=24))
    world.run_cleanly()
    world.assert_each_sent_once([1, 2])


@pytest.mark.requirement("AUTO-05")
def test_one_bad_mail_fails_with_the_providers_words_and_the_others_leave(world: World) -> None:
    world.provider.bad_addresses = {"c3@example.com"}
    world.buyers(range(1, 8))
    report = world.run_cleanly()
    assert report.mails_failed == 1
    assert sorted(world.provider.addresses()) == [
        f"c{number}@example.com" for number in (1, 2, 4, 5, 6, 7)
    ]
    [failed] = [m for m in world.messages() if m.state is MessageState.FAILED]
    assert (failed.customer_id, failed.failure) == (3, "Invalid `to` field: c3@example.com")
    assert failed.finished_at == world.now


@pytest.mark.requirement("AUTO-05")
def test_a_mail_that_cannot_be_rendered_holds_up_no_other(world: World) -> None:
    world.buyers([1, 2])
    # An unreadable version: the template it names does not exist.
    world.execute(
        "UPDATE crm.automation_versions SET definition ="
        " jsonb_set(definition, '{steps,1,template}', '\"absent\"') WHERE version = 2"
    )
    report = world.run_cleanly()
    assert report.mails_failed == 2
    assert {m.failure for m in world.messages()} == {"There is no mail template 'absent'."}
    assert world.provider.calls == []


@pytest.mark.requirement("AUTO-05")
def test_a_key_conflict_is_never_sent_again(world: World) -> None:
    world.provider.faults = [fake.conflict]
    world.buyers([1])
    report = world.run_cleanly()
    retry(world)
    assert report.mails_unknown == 1
    assert world.message().state is MessageState.UNKNOWN
    [batch] = world.batches()
    assert (batch.state, batch.body) == (BatchState.UNKNOWN, None)
    assert len(world.provider.calls) == 1


@pytest.mark.requirement("AUTO-05")
def test_after_23_hours_of_not_knowing_nothing_is_sent_again(world: World) -> None:
    world.provider.faults = [fake.accept_then_drop]
    world.buyers([1])
    world.run_cleanly()
    world.execute(
        "UPDATE crm.message_batches SET first_unknown_at = clock_timestamp() - interval '23h 1s'"
    )
    retry(world)
    message = world.message()
    assert message.state is MessageState.UNKNOWN
    assert message.failure == "The provider never said whether it took this mail."
    assert len(world.provider.calls) == 1


@pytest.mark.requirement("AUTO-05")
def test_an_answer_with_too_few_ids_is_no_answer(world: World) -> None:
    world.provider.faults = [fake.one_id_short]
    world.buyers([1, 2])
    world.run_cleanly()
    assert world.states() == ["frozen", "frozen"]
    retry(world)
    world.assert_each_sent_once([1, 2])


def test_an_outage_is_tried_with_one_batch_and_not_with_all(world: World) -> None:
    world.provider.faults = [fake.unreachable] * 10
    world.buyers(range(1, 8))
    world.run_cleanly(batch_size=3)
    assert len(world.provider.calls) == 1
    assert world.states().count("queued") == 4


@pytest.mark.requirement("AUTO-05")
def test_run_after_run_an_outage_is_tried_with_one_batch(world: World) -> None:
    """Sensors start a run every few seconds while messages are due. Each of these runs used to
    freeze one batch more: within an hour of outage 720 batches were out of reach of any unsubscribe
    and on their way to being given up.
    """
    world.provider.faults = [fake.drop] * 10
    world.buyers(range(1, 8))
    for _ in range(3):
        world.run_cleanly(batch_size=3)
    assert len(world.provider.calls) == len(world.batches()) == 1
    assert world.states().count("queued") == 4
    with session_scope(world.factory) as session:
        assert not steps_due(session, now=world.now)  # nor does a sensor start any of them
    world.provider.faults.clear()
    retry(world)
    world.assert_each_sent_once(range(1, 8))


@pytest.mark.requirement("AUTO-05")
def test_a_batch_that_alone_gets_no_answer_holds_up_others_for_a_minute(world: World) -> None:
    """Its next try may be ten minutes off; what is due must not wait for that."""
    world.provider.faults = [fake.drop]
    world.buyers([1, 2])
    world.run_cleanly(batch_size=1)
    world.execute(
        "UPDATE crm.message_batches SET next_attempt_at = clock_timestamp() + interval '10 min',"
        " lease_until = clock_timestamp() + interval '10 min'"
    )
    world.run_cleanly(batch_size=1)
    assert world.provider.addresses() == []
    world.execute("UPDATE crm.delivery_attempts SET finished_at = finished_at - interval '61 s'")
    with session_scope(world.factory) as session:
        assert steps_due(session, now=world.now)
    world.run_cleanly(batch_size=1)
    assert world.provider.addresses() == ["c2@example.com"]


@pytest.mark.requirement("AUTO-05")
def test_an_event_about_one_member_says_that_the_others_were_taken_too(world: World) -> None:
    """A request that was thought never to have left was accepted whole. An event moved one member
    on; the batch came apart for it and the other member was sent again under a new key.
    """

    def accept_unseen(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
        provider.take(body, key)
        return Unreachable("ProxyError")

    world.provider.faults = [accept_unseen]
    world.buyers([1, 2])
    world.run_cleanly()
    world.execute("UPDATE crm.messages SET state = 'sent' WHERE customer_id = 1")
    retry(world)
    world.run_cleanly()
    assert sorted(world.provider.addresses()) == ["c1@example.com", "c2@example.com"]
    assert world.states() == ["sent", "unknown"]  # until its own event comes


@pytest.mark.requirement("AUTO-05")
def test_the_paces_of_shops_are_their_own(world: World) -> None:
    other = world.add_shop()
    world.switch_welcome_on(shop_id=other)
    world.add_customer(1)
    world.place_order(1)
    world.add_customer(2, shop_id=other)
    world.place_order(2, shop_id=other)
    world.provider.faults = [fake.bad_key]
    world.run_cleanly()
    assert world.provider.addresses() == ["c2@example.com"]
    assert {m.shop_id: m.state for m in world.messages()} == {
        world.shop_id: MessageState.QUEUED,
        other: MessageState.SENT,
    }


@pytest.mark.requirement("AUTO-05")
def test_after_an_answer_that_is_no_acceptance_the_rest_is_not_called(world: World) -> None:
    """Three batches were begun together. What was not called was surely not accepted."""
    world.provider.faults = [FakeProvider.take, fake.drop]
    world.buyers(range(1, 10))
    report = world.run_cleanly(batch_size=3, at_once=3)
    assert (report.requests, report.mails_accepted) == (2, 3)
    assert [(each.outcome, each.error) for each in attempts(world)] == [
        (AttemptOutcome.ACCEPTED, None),
        (AttemptOutcome.UNKNOWN, "502"),
        (AttemptOutcome.RETRY, "not called"),
    ]
    world.set_customer(9, consent_state="UNSUBSCRIBED")
    world.set_customer(6, consent_state="UNSUBSCRIBED")
    retry(world)
    # The sixth may have been accepted and is repeated; the ninth is in the batch not called.
    assert sorted(world.provider.addresses()) == [f"c{n}@example.com" for n in range(1, 9)]
    world.assert_no_mail_twice()


@pytest.mark.requirement("AUTO-05")
def test_batches_taken_together_are_judged_one_by_one(world: World) -> None:
    world.buyers(range(1, 7))
    changed = {"frozen": lambda: world.set_customer(2, consent_state="UNSUBSCRIBED")}
    report = world.run_cleanly(
        batch_size=2, at_once=3, checkpoint=lambda step: changed.pop(step, lambda: None)()
    )
    assert report.batches_dissolved == 1
    assert sorted(world.provider.addresses()) == [f"c{n}@example.com" for n in (1, 3, 4, 5, 6)]


@pytest.mark.requirement("AUTO-05", "AUTO-06")
def test_several_threads_send_what_is_due_once(world: World) -> None:
    """A call that takes as long as the provider takes does not hold up all others."""
    together = threading.Barrier(3, timeout=20)
    calls = iter(range(1000))

    def wait_for_others() -> None:
        if next(calls) < 3:
            together.wait()  # breaks, unless three calls are made at once

    world.provider.before_call = wait_for_others
    world.buyers(range(1, 61))
    world.run_cleanly(batch_size=5, senders=3)
    world.assert_each_sent_once(range(1, 61))


@pytest.mark.requirement("AUTO-05")
def test_what_one_of_the_threads_raises_is_a_failure_of_the_stage(world: World) -> None:
    def fail() -> None:
        raise TransientError("the provider's client broke")

    world.provider.before_call = fail
    world.buyers(range(1, 21))
    [failure] = world.run(batch_size=5, senders=3).failures
    assert (failure.stage, failure.message) == ("send", "the provider's client broke")
