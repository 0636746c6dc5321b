"""What `ecomcrm explain` prints, on the database it would open."""

import pytest

from core.clock import MovableClock, SystemClock
from core.database import SessionFactory
from core.errors import PermanentError
from core.settings import Settings
from ops.explain_cli import customer_lines, customer_of, message, message_lines
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World

pytestmark = pytest.mark.requirement("AUTO-06")


@pytest.fixture
def world(session_factory: SessionFactory, settings: Settings, marts: object) -> World:
    world = World(session_factory, settings, MovableClock(SystemClock().now()), FakeProvider())
    world.shop_id = world.add_shop(domain="ash.myshopify.com")
    world.switch_welcome_on()
    return world


def test_a_mail_is_told_from_its_order_to_its_attempt(world: World) -> None:
    world.add_customer(7)
    order_id = world.place_order(7)
    world.run_cleanly()
    said = message(world.factory, world.settings, None, world.message().message_id)
    text = "\n".join(message_lines(said))
    assert f"#{order_id}" in text
    assert "<- started it" in text
    assert "accepted run run-1" in text
    assert text.count("passed") == len(said.checks)


def test_a_customer_is_told_what_stands_in_the_way(world: World) -> None:
    world.add_customer(7)
    said = customer_of(world.factory, world.settings, "ash.myshopify.com", "7", "welcome")
    first, *lines = customer_lines(said)
    assert first == "They have no order that counts.  [has_ordered]"
    assert "  no  has_ordered           they have no order that counts" in lines


def test_one_shop_has_to_be_meant(world: World) -> None:
    world.add_shop(domain="birch.myshopify.com")
    with pytest.raises(PermanentError, match="Say which shop with --shop"):
        message(world.factory, world.settings, None, 1)
