"""Asking about messages whose sending is unknown, and sending them again, from the command line."""

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from activation.outbox.again import send_again
from core.settings import Settings
from ops.cli import app
from ops.unknown_cli import asked
from tests.activation import fake_provider as fake
from tests.activation.conftest import provider, world  # noqa: F401 - fixtures
from tests.activation.world import World


@pytest.fixture
def by_relay(settings: Settings) -> Settings:
    """Through a relay, which keeps no list and is not connected to for that answer."""
    relay = SecretStr("smtp://127.0.0.1:9")
    return settings.model_copy(update={"mail_provider": "smtp", "smtp_url": relay})


@pytest.mark.requirement("AUTO-05")
def test_what_stays_unknown_is_shown_and_sent_again(
    world: World,  # noqa: F811 - the fixture
    by_relay: Settings,
) -> None:
    world.provider.replays_safely = False
    world.provider.faults = [fake.accept_then_drop]
    world.buyers([1])
    world.run_cleanly()
    said = asked(world.factory, by_relay, world.shop_id)
    [message] = said["messages"]
    assert said["found"] == 0
    assert message["was_asked_for"]
    assert message["failure"] == "ReadTimeout The provider keeps no list of what it sent."
    again = asked(world.factory, by_relay, world.shop_id)
    assert again["messages"][0]["failure"] == message["failure"]  # asked twice, said once
    queued = send_again(world.factory, shop_id=world.shop_id, reason="the relay", now=world.now)
    assert queued == [message["message_id"]]
    assert asked(world.factory, by_relay, world.shop_id)["messages"] == []


def test_the_commands_are_there() -> None:
    shown = CliRunner().invoke(app, ["sending", "--help"]).output
    assert "unknown" in shown
    assert "again" in shown
