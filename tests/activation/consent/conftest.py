import pytest

from core.clock import MovableClock
from core.database import SessionFactory
from core.settings import Settings
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World


@pytest.fixture
def shop(session_factory: SessionFactory, settings: Settings, clock: MovableClock) -> World:
    """A synced shop with the welcome flow on, without the marts."""
    world = World(session_factory, settings, clock, FakeProvider())
    world.shop_id = world.add_shop()
    world.switch_welcome_on()
    return world
