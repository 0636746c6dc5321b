"""Which flows an address wants, as it says on the page."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from activation.consent.preferences import choose_flows, read_flows
from activation.eligibility import Send, Skip
from activation.unsubscribe import unsubscribe
from core.database import session_scope
from core.models import Automation, AutomationVersion, Message
from core.models.enums import MessageState, SkipReason
from tests.activation.consent.shop import A_CLICK, S, decision_on, flow_of, ledger, mail_to
from tests.activation.world import World

pytestmark = pytest.mark.requirement("EMAIL-02")


def add_flow(world: World, key: str, *, is_active: bool = True) -> int:
    with session_scope(world.factory) as session:
        flow = Automation(shop_id=world.shop_id, key=key, name=key.title(), is_active=is_active)
        session.add(flow)
        session.flush()
        session.add(
            AutomationVersion(
                shop_id=world.shop_id, automation_id=flow.automation_id, version=1, definition={}
            )
        )
        return flow.automation_id


def choose(world: World, *wanted: int, email: str = "c1@example.com") -> None:
    with session_scope(world.factory) as session:
        choose_flows(
            session,
            world.shop_id,
            email,
            set(wanted),
            message_id=1,
            automation_id=flow_of(world),
            now=world.now,
            act=A_CLICK,
        )


def wanted(world: World, email: str = "c1@example.com") -> dict[str, bool]:
    with session_scope(world.factory) as session:
        flows = read_flows(session, world.shop_id, email, automation_id=flow_of(world))
        return {flow.key: flow.is_wanted for flow in flows}


def test_a_flow_that_is_left_sends_nothing_and_the_others_go_on(shop: World) -> None:
    shop.add_customer(1)
    birthday = add_flow(shop, "birthday")
    assert decision_on(shop, 1) == Send("c1@example.com")
    choose(shop, birthday)
    assert decision_on(shop, 1) == Skip(SkipReason.OPTED_OUT)
    assert wanted(shop) == {"welcome": False, "birthday": True}
    choose(shop, birthday, flow_of(shop))
    assert decision_on(shop, 1) == Send("c1@example.com")


def test_the_choice_belongs_to_the_address_and_survives_the_customer(shop: World) -> None:
    shop.add_customer(1)
    choose(shop)
    shop.set_customer(1, deleted_at=shop.now)
    shop.add_customer(2, email=" C1@Example.com")
    shop.add_customer(3)
    assert decision_on(shop, 2) == Skip(SkipReason.OPTED_OUT)
    assert decision_on(shop, 3) == Send("c3@example.com")


def test_what_waits_of_a_flow_that_is_left_is_skipped_at_once(shop: World) -> None:
    shop.add_customers([1, 2])
    for customer in (1, 2):
        mail_to(shop, customer, state=MessageState.QUEUED)
    choose(shop)
    with session_scope(shop.factory) as session:
        rows = session.scalars(select(Message).order_by(Message.message_id)).all()
    assert [(each.state, each.skip_reason) for each in rows] == [
        (MessageState.SKIPPED, SkipReason.OPTED_OUT),
        (MessageState.QUEUED, None),
    ]


def test_the_ledger_says_which_flow_and_only_what_changed(shop: World) -> None:
    shop.add_customer(1)
    birthday = add_flow(shop, "birthday")
    choose(shop, birthday)
    choose(shop, birthday)
    choose(shop, flow_of(shop))
    assert [(each.automation_id, each.state_after) for each in ledger(shop)] == [
        (flow_of(shop), S.UNSUBSCRIBED),
        (birthday, S.UNSUBSCRIBED),
        (flow_of(shop), S.SUBSCRIBED),
    ]


def test_flows_that_are_off_are_not_offered_and_stay_as_they_were(shop: World) -> None:
    shop.add_customer(1)
    add_flow(shop, "birthday", is_active=False)
    add_flow(shop, "confirm_subscription")
    assert wanted(shop) == {"welcome": True}
    choose(shop, flow_of(shop))
    assert ledger(shop) == []


def test_leaving_everything_goes_before_any_choice(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    choose(shop, flow_of(shop))
    assert decision_on(shop, 1, now=shop.now + timedelta(days=1)) == Skip(SkipReason.UNSUBSCRIBED)
