"""What became of messages whose sending was given up, and sending them again."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from activation.outbox.again import send_again, unknown_messages
from activation.provider import Accepted, DeliveredMail, SentMail, SentPage
from activation.work import steps_due
from core.database import session_scope
from core.errors import PermanentError, TransientError
from core.models import AuditEntry
from core.models.enums import AuditAction, BatchState, MessageState
from tests.activation import fake_provider as fake
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World


class Listing(FakeProvider):
    """Lists what it took, two lines a page, without tags, as Resend does."""

    asked: int = 0
    looked_up: int = 0
    fails: int = 0

    def list_sent(self, *, after: str | None = None) -> SentPage:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise TransientError("Resend could not list mails: 503")
        lines = [self._line(number) for number in reversed(range(len(self.accepted)))]
        ids = [line.message_id for line in lines]
        start = ids.index(after) + 1 if after else 0
        page = tuple(lines[start : start + 2])
        return SentPage(page, page[-1].message_id if start + 2 < len(lines) else None)

    def _line(self, number: int) -> SentMail:
        mail = self.accepted[number]
        return SentMail(
            message_id=mail["id"],
            to=tuple(mail["to"]),
            subject=mail["subject"],
            created_at=mail.get("created_at", datetime.now(UTC)),
            last_event="delivered",
        )

    def look_up(self, message_id: str) -> DeliveredMail | None:
        self.looked_up += 1
        [mail] = [each for each in self.accepted if each["id"] == message_id]
        return DeliveredMail(
            message_id, "delivered", {tag["name"]: tag["value"] for tag in mail["tags"]}
        )


@pytest.fixture
def provider() -> Listing:
    return Listing()


def stranger(number: int, **fields: object) -> dict[str, object]:
    """A mail of another program under the same key."""
    return {
        "id": f"stranger-{number}",
        "to": [f"c{number}@example.com"],
        "subject": "Your invoice",
        "tags": [],
        **fields,
    }


def give_up(world: World) -> None:
    """Let 23 hours pass since the first attempt, and the time until the list is asked."""
    world.execute(
        "UPDATE crm.message_batches SET first_unknown_at = clock_timestamp() - interval '23h 1s'"
    )
    world.end_leases()
    world.run_cleanly()
    assert MessageState.UNKNOWN in {m.state for m in world.messages()}


def ask(world: World) -> None:
    world.execute(
        "UPDATE crm.message_batches SET next_attempt_at = clock_timestamp()"
        " WHERE state = 'unknown' AND next_attempt_at IS NOT NULL"
    )
    world.run_cleanly()


@pytest.mark.requirement("AUTO-05")
def test_what_the_list_holds_was_sent(world: World, provider: Listing) -> None:
    """Paged back to the attempt, past what others sent since; each fitting line is looked up."""
    provider.faults = [fake.accept_then_drop]
    world.buyers([1, 2, 3])
    world.run_cleanly()
    give_up(world)
    provider.accepted += [stranger(number) for number in (1, 2, 3)]
    with session_scope(world.factory) as session:
        assert not steps_due(session, now=world.now)  # events may still settle it
    world.execute("UPDATE crm.message_batches SET next_attempt_at = clock_timestamp()")
    with session_scope(world.factory) as session:
        assert steps_due(session, now=world.now)
    report = world.run_cleanly()
    assert report.mails_reconciled == 3
    assert (provider.asked, provider.looked_up) == (3, 3)
    assert {(m.state, m.failure) for m in world.messages()} == {(MessageState.SENT, None)}
    assert [m.provider_message_id for m in world.messages()] == ["mail-0", "mail-1", "mail-2"]
    [batch] = world.batches()
    assert (batch.state, batch.next_attempt_at) == (BatchState.UNKNOWN, None)
    assert len(provider.calls) == 1


@pytest.mark.requirement("AUTO-05")
def test_what_the_list_does_not_hold_waits_for_a_person(world: World, provider: Listing) -> None:
    provider.faults = [fake.drop]
    provider.accepted = [stranger(9, created_at=datetime.now(UTC) - timedelta(days=2))]
    world.buyers([1])
    world.run_cleanly()
    give_up(world)
    ask(world)
    ask(world)
    assert provider.asked == 1
    assert world.message().state is MessageState.UNKNOWN
    assert world.message().failure == (
        "The provider never said whether it took this mail. The provider's list does not hold it."
    )
    assert len(provider.calls) == 1  # nothing is ever sent again by itself
    [listed] = unknown_messages(world.factory, world.shop_id)
    assert listed.was_asked_for


@pytest.mark.requirement("AUTO-05")
def test_a_namesake_is_told_apart_by_its_tag(world: World, provider: Listing) -> None:
    """Same address and subject, but another message of ours: not this one."""
    provider.faults = [fake.drop]
    world.buyers([1])
    world.run_cleanly()
    give_up(world)
    tags = [{"name": "send_id", "value": "999999"}]
    subject = world.message().subject
    provider.accepted = [stranger(1, subject=subject, tags=tags)]
    ask(world)
    assert provider.looked_up == 1
    assert world.message().state is MessageState.UNKNOWN


@pytest.mark.requirement("AUTO-05")
def test_any_event_about_a_message_says_that_it_was_sent(world: World, provider: Listing) -> None:
    """Opened, while the event that it was sent got lost."""
    provider.faults = [fake.accept_then_drop]
    world.buyers([1])
    world.run_cleanly()
    give_up(world)
    world.execute(
        "INSERT INTO crm.delivery_events (provider, event_id, shop_id, message_id, event_type,"
        " occurred_at, state, body) SELECT 'resend', 'e1', shop_id, message_id, 'email.opened',"
        " clock_timestamp(), 'matched', '{}' FROM crm.messages"
    )
    world.run_cleanly()
    assert world.message().state is MessageState.SENT
    assert provider.asked == 0


@pytest.mark.requirement("AUTO-05")
def test_a_list_that_cannot_be_read_is_asked_later(world: World, provider: Listing) -> None:
    provider.faults = [fake.accept_then_drop]
    world.buyers([1])
    world.run_cleanly()
    give_up(world)
    provider.fails = 1
    world.execute("UPDATE crm.message_batches SET next_attempt_at = clock_timestamp()")
    [failure] = world.run().failures
    assert failure.stage == "reconcile"
    assert world.batches()[0].reconciled_at is None
    ask(world)
    assert world.message().state is MessageState.SENT


@pytest.mark.requirement("AUTO-05")
def test_a_person_sends_again_what_is_unknown(world: World, provider: Listing) -> None:
    provider.faults = [fake.drop]
    world.buyers([1, 2])
    world.run_cleanly()
    give_up(world)
    with pytest.raises(PermanentError, match="has not been asked"):
        send_again(world.factory, shop_id=world.shop_id, reason="not listed", now=world.now)
    ask(world)
    with pytest.raises(PermanentError, match="Say why"):
        send_again(world.factory, shop_id=world.shop_id, reason=" ", now=world.now)
    world.set_customer(2, consent_state="UNSUBSCRIBED")
    world.clock.advance(timedelta(days=10))  # long too late
    world.execute("UPDATE crm.shops SET first_sync_completed_at = :now", now=world.now)
    queued = send_again(world.factory, shop_id=world.shop_id, reason="not listed", now=world.now)
    assert len(queued) == 2
    world.run_cleanly()
    assert provider.addresses() == ["c1@example.com"]  # looked at like any other
    first, second = {key for key, _ in provider.calls}
    assert first != second
    with session_scope(world.factory) as session:
        [entry] = session.scalars(select(AuditEntry))
        assert (entry.action, entry.reason) == (AuditAction.RESEND_UNKNOWN, "not listed")
        assert entry.figures == {"count": 2, "message_ids": queued}
    with pytest.raises(PermanentError):
        send_again(world.factory, shop_id=world.shop_id, reason="twice", now=world.now)


@pytest.mark.requirement("AUTO-05")
def test_an_event_that_comes_before_the_second_sending_stops_it(
    world: World, provider: Listing
) -> None:
    provider.faults = [fake.drop]
    world.buyers([1])
    world.run_cleanly()
    give_up(world)
    ask(world)
    send_again(world.factory, shop_id=world.shop_id, reason="not listed", now=world.now)
    world.execute("UPDATE crm.messages SET state = 'delivered'")  # as events.py does
    world.run_cleanly()
    assert provider.accepted == []


@pytest.mark.requirement("AUTO-05")
def test_where_repeating_is_not_safe_an_unknown_outcome_is_final(
    world: World, provider: Listing
) -> None:
    """A mail relay knows no keys: what may have gone is never sent again by itself."""
    provider.replays_safely, provider.remembers, provider.batch_limit = False, False, 1
    provider.faults = [fake.accept_then_drop]
    world.buyers([1, 2])
    report = world.run_cleanly()
    assert report.requests == 2  # one mail a request
    assert world.states() == ["sent", "unknown"]
    world.end_leases()
    world.run_cleanly()
    world.assert_no_mail_twice()
    ask(world)
    [unknown] = [m for m in world.messages() if m.state is MessageState.UNKNOWN]
    assert unknown.failure == "ReadTimeout The provider keeps no list of what it sent."


@pytest.mark.requirement("AUTO-05")
def test_where_repeating_is_not_safe_a_dead_workers_attempt_is_final(
    world: World, provider: Listing
) -> None:
    provider.replays_safely, provider.batch_limit = False, 1
    world.buyers([1])

    def die(step: str) -> None:
        if step == "answered":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(checkpoint=die)
    world.end_leases()
    world.run_cleanly()
    assert len(provider.calls) == 1
    assert world.states() == ["unknown"]
    world.assert_no_mail_twice()


@pytest.mark.requirement("AUTO-05", "AUTO-06")
def test_a_quota_of_the_account_stops_all_its_shops_after_one_refusal(world: World) -> None:
    other = world.add_shop()
    world.switch_welcome_on(shop_id=other)
    world.buyers([1])
    world.add_customers([2], shop_id=other)
    world.place_order(2, shop_id=other)
    world.provider.faults = [fake.over_month]
    world.run_cleanly()
    assert len(world.provider.calls) == 1
    with session_scope(world.factory) as session:
        reasons = session.scalars(text("SELECT paused_reason FROM crm.send_paces")).all()
    assert reasons == ["429 monthly_quota_exceeded: limit reached"] * 2


@pytest.mark.requirement("AUTO-06")
def test_after_three_attempts_without_an_answer_the_merchant_is_told_why(world: World) -> None:
    world.provider.faults = [fake.drop] * 3
    world.buyers([1])
    for _ in range(3):
        world.end_pauses()
        world.end_leases()
        world.run_cleanly()
    with session_scope(world.factory) as session:
        reason, seconds = session.execute(
            text(
                "SELECT paused_reason, extract(EPOCH FROM paused_until - clock_timestamp())"
                " FROM crm.send_paces"
            )
        ).one()
    assert reason == "The provider gives no answer (502); it is asked again by itself."
    assert 0 < seconds <= 60  # one batch that alone gets no answer holds up no other for longer
    world.end_pauses()
    world.end_leases()
    world.run_cleanly()
    world.assert_each_sent_once([1])


def test_the_fake_lists_as_the_provider_does(provider: Listing) -> None:
    """Newest first, two a page, to the end."""
    provider.take(b'[{"to":["a@x.y"],"subject":"s"},{"to":["b@x.y"],"subject":"s"}]', "k1")
    provider.take(b'[{"to":["c@x.y"],"subject":"s"}]', "k2")
    first = provider.list_sent()
    assert [mail.to[0] for mail in first.mails] == ["c@x.y", "b@x.y"]
    assert [mail.to[0] for mail in provider.list_sent(after=first.next_after).mails] == ["a@x.y"]
    assert isinstance(provider.take(b"[]", "k3"), Accepted)
