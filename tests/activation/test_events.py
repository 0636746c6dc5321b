"""Events of the provider: stored once, matched, and only ever forward."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from activation.events import MatchReport, Received, match_stored, receive
from activation.provider.resend import ResendProvider
from activation.work import orders_due
from core.database import session_scope
from core.models import DeliveryEvent, Message, Suppression
from core.models.enums import EventState, MessageState, SkipReason, SuppressionReason
from tests.activation import fake_provider as fake
from tests.activation.provider.test_resend import signed
from tests.activation.world import World

NUMBERS = itertools.count(1)


def tell(
    world: World,
    kind: str,
    data: dict[str, Any] | None = None,
    *,
    event_id: str | None = None,
    message: Message | None = None,
) -> Received:
    """Deliver one signed event about the shop's only message, or about nothing we know."""
    tags = {}
    if message is not None:
        tags = {"shop_id": str(message.shop_id), "send_id": str(message.message_id)}
    body = orjson.dumps(
        {
            "type": kind,
            "created_at": "2026-11-20T12:00:05.000Z",
            "data": {"email_id": "mail-0", "tags": tags, **(data or {})},
        }
    )
    return deliver(world, body, event_id=event_id or f"msg_{next(NUMBERS)}")


def deliver(world: World, body: bytes, *, event_id: str) -> Received:
    return receive(
        world.factory,
        headers=signed(body, event_id=event_id),
        body=body,
        provider=ResendProvider.from_settings(world.settings),
        clock=world.clock,
    )


def stored(world: World) -> list[DeliveryEvent]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(DeliveryEvent).order_by(DeliveryEvent.received_at)))


def suppressions(world: World) -> list[tuple[str, SuppressionReason]]:
    with session_scope(world.factory) as session:
        rows = session.scalars(select(Suppression).where(Suppression.lifted_at.is_(None)))
        return [(row.email_normalized, row.reason) for row in rows]


@pytest.fixture
def sent(world: World) -> Message:
    world.buyers([1])
    world.run_cleanly()
    return world.message()


@pytest.mark.requirement("AUTO-06")
def test_an_event_is_stored_and_moves_its_message(world: World, sent: Message) -> None:
    assert tell(world, "email.delivered", message=sent) == Received(200, EventState.MATCHED)
    message = world.message()
    assert (message.state, str(message.delivered_at)) == (
        MessageState.DELIVERED,
        "2026-11-20 12:00:05+00:00",
    )
    [event] = stored(world)
    assert (event.shop_id, event.message_id) == (sent.shop_id, sent.message_id)
    assert event.event_type == "email.delivered"


@pytest.mark.requirement("AUTO-06")
def test_a_wrong_signature_stores_nothing(world: World, sent: Message) -> None:
    body = b'{"type":"email.delivered"}'
    answer = receive(
        world.factory,
        headers=signed(b"other"),
        body=body,
        provider=ResendProvider.from_settings(world.settings),
        clock=world.clock,
    )
    assert answer == Received(401)
    assert stored(world) == []


@pytest.mark.requirement("AUTO-06")
def test_a_repeated_event_has_no_second_effect(world: World, sent: Message) -> None:
    first = tell(world, "email.delivered", message=sent, event_id="msg_same")
    world.execute("UPDATE crm.messages SET state = 'sent', delivered_at = NULL")
    assert tell(world, "email.delivered", message=sent, event_id="msg_same") == first
    assert world.message().state is MessageState.SENT
    assert len(stored(world)) == 1


@pytest.mark.requirement("AUTO-06")
@pytest.mark.parametrize(
    "order",
    list(itertools.permutations(["email.sent", "email.delivered", "email.opened"])),
)
def test_in_whatever_order_events_come_the_furthest_state_stays(
    world: World, sent: Message, order: Sequence[str]
) -> None:
    for kind in order:
        tell(world, kind, message=sent)
    message = world.message()
    assert message.state is MessageState.DELIVERED
    assert message.first_opened_at is not None


@pytest.mark.requirement("AUTO-06", "EMAIL-03")
def test_a_bounce_is_final(world: World, sent: Message) -> None:
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=sent)
    tell(world, "email.delivered", message=sent)
    assert world.message().state is MessageState.BOUNCED
    tell(world, "email.complained", message=sent)
    assert world.message().state is MessageState.COMPLAINED


@pytest.mark.requirement("EMAIL-03")
@pytest.mark.parametrize(
    ("kind", "data", "state", "reasons"),
    [
        (
            "email.bounced",
            {"bounce": {"type": "Permanent", "subType": "General", "message": "no such box"}},
            MessageState.BOUNCED,
            [SuppressionReason.HARD_BOUNCE],
        ),
        (
            "email.bounced",
            {"bounce": {"type": "Permanent", "subType": "Suppressed", "message": "on the list"}},
            MessageState.BOUNCED,
            [SuppressionReason.HARD_BOUNCE],
        ),
        ("email.bounced", {"bounce": {"type": "Transient"}}, MessageState.BOUNCED, []),
        ("email.bounced", {"bounce": {"type": "Temporary"}}, MessageState.BOUNCED, []),
        ("email.bounced", {"bounce": {"type": "Undetermined"}}, MessageState.BOUNCED, []),
        ("email.bounced", {}, MessageState.BOUNCED, []),
        ("email.complained", {}, MessageState.COMPLAINED, [SuppressionReason.COMPLAINT]),
        (
            "email.suppressed",
            {"suppressed": {"message": "on the list", "type": "OnAccountSuppressionList"}},
            MessageState.SKIPPED,
            [SuppressionReason.HARD_BOUNCE],
        ),
        ("email.failed", {"failed": {"reason": "reached_daily_quota"}}, MessageState.FAILED, []),
        ("email.delivery_delayed", {}, MessageState.SENT, []),
        ("email.clicked", {"click": {"link": "https://x"}}, MessageState.SENT, []),
        ("email.something_new", {}, MessageState.SENT, []),
    ],
)
def test_what_each_event_means(
    world: World,
    kind: str,
    data: dict[str, Any],
    state: MessageState,
    reasons: list[SuppressionReason],
) -> None:
    world.buyers([1])
    world.run_cleanly()
    tell(world, kind, data, message=world.message())
    assert world.message().state is state
    assert suppressions(world) == [("c1@example.com", reason) for reason in reasons]


@pytest.mark.requirement("EMAIL-03")
def test_after_a_hard_bounce_the_next_mail_is_skipped_and_says_so(world: World) -> None:
    world.buyers([1])
    world.run_cleanly()
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=world.message())
    world.add_customer(2, email="C1@example.com")  # another customer of the same address
    world.place_order(2)
    world.run_cleanly()
    _, second = world.messages()
    assert second.skip_reason is SkipReason.SUPPRESSED
    assert len(world.provider.accepted) == 1


@pytest.mark.requirement("EMAIL-03")
def test_a_mail_the_provider_did_not_try_shows_as_suppressed(world: World, sent: Message) -> None:
    tell(world, "email.suppressed", {"suppressed": {"message": "on the list"}}, message=sent)
    message = world.message()
    assert (message.skip_reason, message.failure) == (SkipReason.SUPPRESSED, "on the list")


@pytest.mark.requirement("AUTO-05", "AUTO-06")
def test_an_event_that_beats_our_own_commit_is_not_lost(world: World) -> None:
    world.provider.faults = [fake.accept_then_drop]
    world.buyers([1])
    world.run_cleanly()
    frozen = world.message()
    assert frozen.state is MessageState.FROZEN

    tell(world, "email.delivered", message=frozen)
    assert world.message().state is MessageState.DELIVERED

    world.end_leases()
    world.run_cleanly()
    message = world.message()
    assert (message.state, message.provider_message_id) == (MessageState.DELIVERED, "mail-0")
    world.assert_each_sent_once([1])


@pytest.mark.requirement("AUTO-05", "AUTO-06")
def test_an_event_reconciles_what_was_given_up(world: World) -> None:
    world.provider.faults = [fake.conflict]
    world.buyers([1])
    world.run_cleanly()
    unknown = world.message()
    assert unknown.state is MessageState.UNKNOWN
    tell(world, "email.sent", message=unknown)
    message = world.message()
    assert (message.state, message.failure) == (MessageState.SENT, None)
    assert message.provider_message_id == "mail-0"


def test_an_event_without_tags_is_matched_by_the_providers_id_when_it_is_known(
    world: World,
) -> None:
    assert tell(world, "email.delivered").state is EventState.STORED
    world.buyers([1])
    report = world.run_cleanly()
    assert report.events_matched == 1
    assert world.message().state is MessageState.DELIVERED


def test_what_matches_nothing_for_a_day_is_not_ours(world: World) -> None:
    tell(world, "email.delivered")
    tell(world, "email.delivered", {"tags": {"shop_id": "1", "send_id": "9" * 30}})
    assert match_stored(world.factory, clock=world.clock) == MatchReport()
    world.execute("UPDATE crm.delivery_events SET received_at = received_at - interval '25 hours'")
    assert match_stored(world.factory, clock=world.clock) == MatchReport(unmatched=2)
    assert match_stored(world.factory, clock=world.clock) == MatchReport()


def test_an_event_of_another_shop_does_not_touch_ours(world: World, sent: Message) -> None:
    tags = {"shop_id": str(world.add_shop()), "send_id": str(sent.message_id)}
    assert tell(world, "email.bounced", {"tags": tags}).state is EventState.STORED
    assert world.message().state is MessageState.SENT


def test_events_about_other_things_are_kept_and_done(world: World) -> None:
    assert tell(world, "suppression.added").state is EventState.UNMATCHED


@pytest.mark.parametrize("body", [b"nonsense", b"[]", b"\x00"])
def test_a_signed_event_that_cannot_be_read_is_kept_as_failed(world: World, body: bytes) -> None:
    assert deliver(world, body, event_id="msg_bad") == Received(200, EventState.FAILED)
    assert deliver(world, body, event_id="msg_bad") == Received(200, EventState.FAILED)
    [event] = stored(world)
    assert event.error is not None


@pytest.mark.parametrize("data", [None, [], {"tags": []}, {"tags": {"send_id": 5}}, {"bounce": 1}])
def test_strange_data_does_no_harm(world: World, data: object) -> None:
    body = orjson.dumps({"type": "email.bounced", "data": data})
    assert deliver(world, body, event_id="msg_odd").state is EventState.STORED


def test_a_nul_character_in_an_event_is_stored_without_it(world: World, sent: Message) -> None:
    """Postgres refuses it inside JSON, and the event was answered with an error for ever."""
    tell(world, "email.bounced", {"bounce": {"message": "a\x00b"}}, message=sent)
    assert world.message().failure == "a\N{REPLACEMENT CHARACTER}b"


def test_old_suppressions_are_not_doubled(world: World, sent: Message) -> None:
    for _ in range(2):
        tell(world, "email.complained", message=sent)
        world.clock.advance(timedelta(hours=1))
    assert suppressions(world) == [("c1@example.com", SuppressionReason.COMPLAINT)]


def store_unapplied(
    world: World, kind: str, *, shop_id: object, send_id: object, event_id: str = "left"
) -> None:
    """As a web process leaves an event that dies between storing and applying it."""
    world.execute(
        "INSERT INTO crm.delivery_events (provider, event_id, event_type, occurred_at, state, body)"
        " VALUES ('resend', :event_id, :kind, :now, 'stored', CAST(:body AS jsonb))",
        event_id=event_id,
        kind=kind,
        now=world.now,
        body=orjson.dumps(
            {"data": {"email_id": "elsewhere", "tags": {"shop_id": shop_id, "send_id": send_id}}}
        ).decode(),
    )


def orders_are_due(world: World) -> bool:
    with session_scope(world.factory) as session:
        return orders_due(session)


@pytest.mark.requirement("AUTO-06")
def test_an_event_that_was_stored_and_not_applied_starts_a_run(world: World, sent: Message) -> None:
    """No sensor looked for it: it waited until something else happened to be due."""
    assert not orders_are_due(world)
    store_unapplied(world, "email.bounced", shop_id=str(sent.shop_id), send_id=str(sent.message_id))
    assert orders_are_due(world)
    world.run_cleanly()
    assert world.message().state is MessageState.BOUNCED
    assert not orders_are_due(world)


@pytest.mark.requirement("AUTO-06", "EMAIL-01")
def test_a_stored_complaint_holds_before_the_next_mail_leaves(world: World, sent: Message) -> None:
    """Events were applied after sending: whoever had complained got one more mail."""
    store_unapplied(
        world, "email.complained", shop_id=str(sent.shop_id), send_id=str(sent.message_id)
    )
    world.add_customer(2, email="c1@example.com")
    world.place_order(2)
    world.run_cleanly()
    assert world.messages()[-1].skip_reason is SkipReason.SUPPRESSED
    assert len(world.provider.accepted) == 1


@pytest.mark.parametrize(
    ("shop_id", "send_id"),
    [("548380009000", "1"), ("1", "9" * 30), ("99", "1"), (1, 1), (["1"], ["1"]), (None, None)],
)
def test_events_of_other_programs_neither_stop_ours_nor_start_runs(
    world: World, sent: Message, shop_id: object, send_id: object
) -> None:
    """Another program may send through the same account and tag its mails as it likes. A number too
    big for our shop ids failed the whole stage at every run, and five hundred waiting events hid
    the ones behind them for a day.
    """
    for number in range(3):
        store_unapplied(
            world, "email.sent", shop_id=shop_id, send_id=send_id, event_id=f"foreign {number}"
        )
    assert not orders_are_due(world)
    store_unapplied(
        world, "email.delivered", shop_id=str(sent.shop_id), send_id=str(sent.message_id)
    )
    assert match_stored(world.factory, clock=world.clock, limit=2) == MatchReport(matched=1)
    assert world.message().state is MessageState.DELIVERED
    assert not orders_are_due(world)
    world.execute("UPDATE crm.delivery_events SET received_at = received_at - interval '25 hours'")
    assert orders_are_due(world)
    world.run_cleanly()
    assert not orders_are_due(world)
