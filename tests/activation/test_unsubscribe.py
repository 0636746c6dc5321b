"""The link that every mail carries."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import select

from activation.unsubscribe import (
    Recipient,
    Subscriber,
    find_subscriber,
    read_token,
    token_for,
    undo,
    unsubscribe,
)
from core.database import session_scope
from core.models import Suppression
from core.models.enums import ConsentState, SkipReason
from core.settings import Settings
from tests.activation.admin import FakeAdmin
from tests.activation.world import World

SETTINGS = Settings.model_construct(secret_key=SecretStr("0123456789abcdef0123456789abcdef"))


@pytest.mark.requirement("EMAIL-05")
def test_a_token_is_exactly_this_for_ever() -> None:
    """Links in mails that left years ago must go on working."""
    assert token_for(SETTINGS, shop_id=1, message_id=42) == "1.MS40Mg.zU8QZL0TxVO5gVSwrbiMLQ"


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1))
def test_a_token_leads_back_to_its_message(shop_id: int, message_id: int) -> None:
    token = token_for(SETTINGS, shop_id=shop_id, message_id=message_id)
    assert read_token(SETTINGS, token) == Recipient(shop_id, message_id)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", token)


@given(st.text())
def test_nothing_else_is_a_token(text: str) -> None:
    assert read_token(SETTINGS, text) is None


def test_a_token_of_another_key_message_or_version_is_none() -> None:
    token = token_for(SETTINGS, shop_id=1, message_id=42)
    other = Settings.model_construct(secret_key=SecretStr("x" * 32))
    assert read_token(other, token) is None
    version, payload, signature = token.split(".")
    forged = token_for(SETTINGS, shop_id=1, message_id=43).split(".")[1]
    assert read_token(SETTINGS, f"{version}.{forged}.{signature}") is None
    assert read_token(SETTINGS, f"2.{payload}.{signature}") is None
    assert read_token(SETTINGS, token + "=") is None


@pytest.fixture
def recipient(world: World) -> Recipient:
    """Read from the header of a mail that was really sent."""
    admin = FakeAdmin(world.clock)
    world.client_of = lambda _: admin
    world.buyers([1])
    world.run_cleanly()
    [mail] = world.provider.accepted
    token = mail["headers"]["List-Unsubscribe"].strip("<>").rpartition("/")[2]
    found = read_token(world.settings, token)
    assert found is not None
    return found


def order_of_the_same_address(world: World) -> SkipReason | None:
    subscribed = world.now - timedelta(days=1)
    world.clock.advance(timedelta(days=2))  # no cap holds it up
    world.add_customer(2, email=" C1@Example.com", consent_updated_at=subscribed)
    world.place_order(2)
    world.run_cleanly()
    return world.messages()[-1].skip_reason


@pytest.mark.requirement("EMAIL-01")
def test_after_unsubscribing_the_address_gets_nothing_more(
    world: World, recipient: Recipient
) -> None:
    with session_scope(world.factory) as session:
        unsubscribe(session, recipient, now=world.now)
    assert order_of_the_same_address(world) is SkipReason.UNSUBSCRIBED
    assert len(world.provider.accepted) == 1


@pytest.mark.requirement("EMAIL-01")
def test_control_without_unsubscribing_the_same_order_is_mailed(
    world: World, recipient: Recipient
) -> None:
    assert order_of_the_same_address(world) is None
    assert len(world.provider.accepted) == 2


@pytest.mark.requirement("EMAIL-01")
def test_unsubscribing_twice_keeps_the_latest_time_and_undoing_lifts_it(
    world: World, recipient: Recipient
) -> None:
    first = world.now
    with session_scope(world.factory) as session:
        unsubscribe(session, recipient, now=first)
        unsubscribe(session, recipient, now=first + timedelta(days=1))
        unsubscribe(session, recipient, now=first)  # two at once: the later one stays
        row = session.scalars(select(Suppression)).one()
        assert (row.suppressed_at, row.lifted_at) == (first + timedelta(days=1), None)
        known = Subscriber(
            "Nordlicht Keramik",
            "c1@example.com",
            is_unsubscribed=True,
            is_ours=True,
            address="c1@example.com",
            automation_id=world.message().automation_id,
        )
        assert find_subscriber(session, recipient) == known
        undo(session, recipient, now=first + timedelta(days=2))
        assert find_subscriber(session, recipient) == replace(
            known, is_unsubscribed=False, is_ours=False
        )
        unsubscribe(session, recipient, now=first + timedelta(days=3))
    with session_scope(world.factory) as session:
        row = session.scalars(select(Suppression)).one()
        assert (row.suppressed_at, row.lifted_at) == (first + timedelta(days=3), None)


@pytest.mark.requirement("EMAIL-01")
def test_undoing_lifts_no_complaint(world: World, recipient: Recipient) -> None:
    world.execute(
        "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
        " VALUES (:shop_id, 'c1@example.com', 'complaint', :now)",
        shop_id=world.shop_id,
        now=world.now,
    )
    with session_scope(world.factory) as session:
        undo(session, recipient, now=world.now)
    assert order_of_the_same_address(world) is SkipReason.SUPPRESSED


@pytest.mark.requirement("EMAIL-01")
def test_subscribing_again_at_the_shop_later_counts(world: World, recipient: Recipient) -> None:
    with session_scope(world.factory) as session:
        unsubscribe(session, recipient, now=world.now)
    world.add_customer(
        2,
        email="c1@example.com",
        consent_state=ConsentState.SUBSCRIBED,
        consent_updated_at=world.now + timedelta(seconds=1),
    )
    world.clock.advance(timedelta(days=2))  # no cap holds it up
    world.place_order(2)
    world.run_cleanly()
    assert len(world.provider.accepted) == 2


@pytest.mark.requirement("EMAIL-01")
def test_who_subscribed_again_at_the_shop_may_leave_again(
    world: World, recipient: Recipient
) -> None:
    """The second unsubscribe used to change nothing: the first one's row was still there, and the
    subscription that had overruled it went on overruling it. The page even said it was done.
    """
    left, back = world.now, world.now + timedelta(days=1)
    with session_scope(world.factory) as session:
        unsubscribe(session, recipient, now=left)
    world.set_customer(1, consent_state=ConsentState.SUBSCRIBED, consent_updated_at=back)
    with session_scope(world.factory) as session:
        subscriber = find_subscriber(session, recipient)
        assert subscriber is not None
        assert not subscriber.is_unsubscribed  # so the page offers to unsubscribe
        unsubscribe(session, recipient, now=back + timedelta(days=1))
        subscriber = find_subscriber(session, recipient)
        assert subscriber is not None
        assert subscriber.is_unsubscribed
    world.add_customer(2, email="c1@example.com", consent_updated_at=back)
    world.place_order(2)
    world.run_cleanly()
    assert world.messages()[-1].skip_reason is SkipReason.UNSUBSCRIBED
    assert len(world.provider.accepted) == 1


def test_a_message_that_is_gone_has_no_subscriber(world: World) -> None:
    with session_scope(world.factory) as session:
        gone = Recipient(world.shop_id, 999)
        unsubscribe(session, gone, now=world.now)
        assert find_subscriber(session, gone) is None
        assert session.scalars(select(Suppression)).all() == []


@pytest.mark.requirement("EMAIL-01")
def test_who_leaves_has_left_though_shopifys_clock_is_ahead_of_ours(
    world: World, recipient: Recipient
) -> None:
    """A subscription dated some seconds into our future used to overrule an unsubscribe that came
    after it.
    """
    ahead = world.now + timedelta(seconds=40)
    world.set_customer(1, consent_updated_at=ahead)
    with session_scope(world.factory) as session:
        unsubscribe(session, recipient, now=world.now)
        subscriber = find_subscriber(session, recipient)
        assert subscriber is not None
        assert subscriber.is_ours
        assert session.scalars(select(Suppression)).one().suppressed_at == ahead
    assert order_of_the_same_address(world) is SkipReason.UNSUBSCRIBED
