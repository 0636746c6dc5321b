"""Double opt-in: asked once, waited for, and a click that counts."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from activation.consent import confirming
from activation.consent.confirming import confirm, find_asked
from activation.consent.ledger import Act
from activation.consent.policy import (
    KEY,
    require_confirmation,
    require_no_confirmation,
)
from activation.eligibility import Defer, Send, Skip
from activation.tokens import Recipient
from activation.unsubscribe import undo, unsubscribe
from core.database import session_scope
from core.models import AuditEntry, ConsentConfirmation, Message
from core.models.enums import (
    AuditAction,
    ConsentSource,
    ConsentState,
    DeferReason,
    MessageState,
    SkipReason,
)
from tests.activation.admin import FakeAdmin, Held
from tests.activation.consent.shop import S, compare, decision_on, flow_of, ledger, mail_to, told
from tests.activation.wishes import write
from tests.activation.world import World

pytestmark = pytest.mark.requirement("EMAIL-02")

CLICK = Act(ConsentSource.DOUBLE_OPT_IN, "double_opt_in/1", "Yes", ip="203.0.113.7")
SINGLE = {"consent_level": "SINGLE_OPT_IN"}


def switch_on(world: World, *, everybody: bool = False) -> None:
    with session_scope(world.factory) as session:
        require_confirmation(
            session, world.shop_id, reason="Our lawyer.", now=world.now, everybody=everybody
        )


def subscribe(world: World, customer_id: int, **columns: object) -> None:
    """They subscribed this instant, with one click somewhere."""
    world.add_customer(customer_id, **{"consent_updated_at": world.now, **SINGLE, **columns})


def asks(world: World) -> list[Message]:
    automation = flow_of(world, KEY)
    with session_scope(world.factory) as session:
        return list(
            session.scalars(
                select(Message)
                .where(Message.automation_id == automation)
                .order_by(Message.message_id)
            )
        )


def click(world: World, message: Message, *, at: datetime | None = None) -> None:
    with session_scope(world.factory) as session:
        link = Recipient(world.shop_id, message.message_id)
        confirm(session, link, now=at or world.now, act=CLICK)


def page_of(world: World, message: Message) -> str | None:
    with session_scope(world.factory) as session:
        asked = find_asked(session, Recipient(world.shop_id, message.message_id))
        return None if asked is None else asked.state


def test_who_subscribes_is_asked_once_and_waits(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    assert [compare(shop).asked, compare(shop).asked] == [1, 0]
    [mail] = asks(shop)
    assert (mail.state, mail.email, mail.due_at) == (
        MessageState.QUEUED,
        "c1@example.com",
        shop.now,
    )
    decision = decision_on(shop, 1)
    assert isinstance(decision, Defer)
    assert decision.reason is DeferReason.NOT_CONFIRMED


def test_the_click_lets_mail_go_and_is_written_down_and_told_to_shopify(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    [mail] = asks(shop)
    waiting = mail_to(shop, 1, state=MessageState.QUEUED)
    shop.execute(
        "UPDATE crm.messages SET defer_reason = 'not_confirmed', due_at = due_at + interval '9 min'"
        " WHERE message_id = :id",
        id=waiting.message_id,
    )
    shop.clock.advance(timedelta(minutes=1))
    assert page_of(shop, mail) == "ask"
    click(shop, mail)
    assert page_of(shop, mail) == "done"
    assert decision_on(shop, 1) == Send("c1@example.com")
    event = ledger(shop)[-1]
    assert (event.source, event.state_after, event.level) == (
        ConsentSource.DOUBLE_OPT_IN,
        S.SUBSCRIBED,
        "CONFIRMED_OPT_IN",
    )
    assert (event.wording, event.ip, event.occurred_at) == ("Yes", "203.0.113.7", shop.now)
    with session_scope(shop.factory) as session:
        assert session.get_one(Message, (shop.shop_id, waiting.message_id)).due_at == shop.now
    admin = FakeAdmin(
        shop.clock,
        {1: Held("c1@example.com", level="SINGLE_OPT_IN", updated_at=shop.now - timedelta(1))},
    )
    assert write(shop, admin).written == 1
    held = admin.customers[1]
    assert (held.state, held.level, held.updated_at) == (
        "SUBSCRIBED",
        "CONFIRMED_OPT_IN",
        shop.now,
    )
    shop.set_customer(1, consent_level=held.level, consent_updated_at=held.updated_at)
    assert compare(shop).progress == 0  # what we wrote is no event, and nobody is asked again


def test_clicking_again_changes_nothing(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    [mail] = asks(shop)
    for _ in range(3):
        click(shop, mail)
    assert [source for _, _, source in told(shop)] == ["shopify", "double_opt_in"]


def test_without_the_setting_nobody_is_asked_and_nothing_waits(shop: World) -> None:
    subscribe(shop, 1)
    assert compare(shop).asked == 0
    assert decision_on(shop, 1) == Send("c1@example.com")


def test_who_subscribed_before_needs_no_click_unless_everybody_does(shop: World) -> None:
    shop.add_customer(1, **SINGLE)
    switch_on(shop)
    assert compare(shop).asked == 0
    assert decision_on(shop, 1) == Send("c1@example.com")
    switch_on(shop, everybody=True)
    assert isinstance(decision_on(shop, 1), Defer)
    assert compare(shop).asked == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"consent_level": "CONFIRMED_OPT_IN"},
        {"consent_state": ConsentState.UNSUBSCRIBED},
        {"consent_state": ConsentState.PENDING},
        {"has_valid_email": False},
        {"deleted_at": datetime(2026, 1, 1).astimezone()},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_nobody_else_is_asked(shop: World, columns: dict[str, object]) -> None:
    switch_on(shop)
    subscribe(shop, 1, **columns)
    assert compare(shop).asked == 0


def test_who_left_or_complained_is_not_asked_and_a_click_brings_nobody_back(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    [mail] = asks(shop)
    with session_scope(shop.factory) as session:
        unsubscribe(session, Recipient(shop.shop_id, mail.message_id), now=shop.now)
    [mail] = asks(shop)
    assert (mail.state, mail.skip_reason) == (MessageState.SKIPPED, SkipReason.UNSUBSCRIBED)
    assert page_of(shop, mail) == "closed"
    click(shop, mail)
    assert decision_on(shop, 1) == Skip(SkipReason.UNSUBSCRIBED)
    shop.execute("DELETE FROM crm.consent_confirmations")
    assert compare(shop).asked == 0


def test_staying_subscribed_by_the_link_in_a_mail_is_as_good_as_the_click(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    link = Recipient(shop.shop_id, asks(shop)[0].message_id)
    for act in (unsubscribe, undo):
        with session_scope(shop.factory) as session:
            act(session, link, now=shop.now)
    assert decision_on(shop, 1) == Send("c1@example.com")


def test_a_confirmation_ends_with_the_permission_it_was_for(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    click(shop, asks(shop)[0])
    for state, days in ((ConsentState.UNSUBSCRIBED, 2), (ConsentState.SUBSCRIBED, 3)):
        at = shop.now + timedelta(days=days)
        shop.set_customer(1, consent_state=state, consent_updated_at=at)
        compare(shop)
    assert isinstance(decision_on(shop, 1), Defer)
    shop.clock.advance(timedelta(days=3))
    assert compare(shop).asked == 1
    assert len(asks(shop)) == 2
    click(shop, asks(shop)[1])
    assert decision_on(shop, 1) == Send("c1@example.com")


def test_an_address_typed_into_many_forms_gets_one_mail_a_day_and_five_ever(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    for customer in range(2, 6):
        subscribe(shop, customer, email="c1@example.com")
    assert compare(shop, size=1).asked == 1
    asked = 1
    for _ in range(8):
        shop.clock.advance(timedelta(hours=13))
        shop.set_customer(1, consent_updated_at=shop.now)
        asked += compare(shop).asked
    assert asked == confirming.ASKED_AT_MOST == len(asks(shop))


def test_a_shop_asks_so_many_an_hour_and_the_rest_later(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "ASKED_AN_HOUR", 3)
    shop.add_customers(range(1, 6), consent_level="SINGLE_OPT_IN")
    switch_on(shop, everybody=True)
    assert [compare(shop, size=2).asked, compare(shop).asked] == [3, 0]
    shop.clock.advance(timedelta(hours=1))
    assert compare(shop).asked == 2


def test_the_mail_that_asks_is_of_no_use_once_nothing_needs_to_be_confirmed(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    assert decision_of_ask(shop) == Send("c1@example.com")
    shop.set_customer(1, consent_level="CONFIRMED_OPT_IN")
    assert decision_of_ask(shop) == Skip(SkipReason.EXITED)


def test_switching_off_lets_what_waits_go_and_stops_asking(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    compare(shop)
    with session_scope(shop.factory) as session:
        require_no_confirmation(session, shop.shop_id, reason="No more.", now=shop.now)
    assert decision_on(shop, 1) == Send("c1@example.com")
    assert decision_of_ask(shop) == Skip(SkipReason.AUTOMATION_OFF)
    with session_scope(shop.factory) as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.audit_entry_id)).all()
        assert [(each.action, each.figures["double_opt_in"]) for each in entries] == [
            (AuditAction.SET_DOUBLE_OPT_IN, True),
            (AuditAction.SET_DOUBLE_OPT_IN, False),
        ]
        assert session.scalars(select(ConsentConfirmation)).one().confirmed_at is None


def test_a_link_of_another_mail_asks_nothing(shop: World) -> None:
    switch_on(shop)
    subscribe(shop, 1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        assert find_asked(session, link) is None
        confirm(session, link, now=shop.now, act=CLICK)
    assert ledger(shop) == []


@pytest.mark.requirement("EMAIL-02", "EMAIL-05")
def test_in_an_activation_run_the_question_leaves_and_marketing_waits_for_the_answer(
    world: World,
) -> None:
    """The whole way: subscribed, ordered, asked, clicked, welcomed."""
    world.client_of = lambda _: FakeAdmin(world.clock)
    switch_on(world)
    world.buyers([1], consent_updated_at=world.now, **SINGLE)
    world.run_cleanly()
    [question] = world.provider.accepted
    assert question["subject"].startswith("Please confirm")
    assert "/confirm/1." in question["text"]
    assert "/confirm/1." in question["html"]
    assert question["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = question["text"].split("/confirm/")[1].split()[0]
    link = confirming.read_token(world.settings, token)
    assert link is not None
    with session_scope(world.factory) as session:
        confirm(session, link, now=world.now, act=CLICK)
    world.run_cleanly()
    assert len(world.provider.accepted) == 2
    assert "elcome" in world.provider.accepted[1]["subject"]


def decision_of_ask(world: World) -> object:
    return decision_on(world, 1, flow=KEY)
