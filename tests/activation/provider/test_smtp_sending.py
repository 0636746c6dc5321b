"""The outbox by SMTP: one mail a request, and what is unknown is never sent again."""

from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default

import pytest
from pydantic import SecretStr

from activation.provider.smtp import SmtpProvider
from core.models.enums import MessageState
from tests.activation.provider.relay import HANG_UP, FakeRelay, relaying
from tests.activation.world import World


@pytest.fixture
def relay(world: World) -> Iterator[FakeRelay]:
    with relaying() as relay, SmtpProvider(SecretStr(relay.url)) as provider:
        world.provider = provider  # type: ignore[assignment]
        yield relay


@pytest.mark.requirement("AUTO-05", "EMAIL-05")
def test_each_mail_is_handed_in_once_with_its_headers(world: World, relay: FakeRelay) -> None:
    world.buyers([1, 2, 3])
    world.run_cleanly()
    assert {message.state for message in world.messages()} == {MessageState.SENT}
    assert len(relay.contents) == 3
    for content, sent in zip(relay.contents, world.messages(), strict=True):
        message = message_from_bytes(content.removesuffix(b".\r\n"), policy=default)
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert message["List-Unsubscribe"].startswith("<http")
        assert message["Message-ID"].startswith(f"<{sent.shop_id}.")
    ids = {message.provider_message_id for message in world.messages()}
    assert len(ids) == 3


@pytest.mark.requirement("AUTO-05")
def test_a_relay_that_hangs_up_after_the_content_gets_the_mail_no_second_time(
    world: World, relay: FakeRelay
) -> None:
    relay.answers = {"content": HANG_UP}
    world.buyers([1])
    world.run_cleanly()
    assert world.message().state is MessageState.UNKNOWN
    relay.answers = {}
    world.end_leases()
    world.run_cleanly()
    assert len(relay.contents) == 1
    assert world.message().state is MessageState.UNKNOWN


@pytest.mark.requirement("AUTO-05")
def test_a_relay_that_says_not_now_gets_the_same_mail_later(world: World, relay: FakeRelay) -> None:
    relay.answers = {"content": "451 not now"}
    world.buyers([1])
    world.run_cleanly()
    assert world.message().state is MessageState.FROZEN
    relay.answers = {}
    world.end_leases()
    world.run_cleanly()
    first, second = relay.contents
    assert first == second
    assert world.message().state is MessageState.SENT


@pytest.mark.requirement("AUTO-05")
def test_a_greylisted_recipient_keeps_nobody_else_waiting(world: World, relay: FakeRelay) -> None:
    """It counted as silence of the relay, so all mail of the shop waited up to a minute with it."""
    relay.answers = {"rcpt TO:<c1@example.com>": "450 greylisted"}
    world.buyers([1, 2, 3])
    world.run_cleanly()
    states = {message.customer_id: message.state for message in world.messages()}
    assert states.pop(1) is MessageState.FROZEN
    assert set(states.values()) == {MessageState.SENT}
    relay.answers = {}
    world.end_leases()
    world.run_cleanly()
    assert len(relay.contents) == 3
    assert {message.state for message in world.messages()} == {MessageState.SENT}
