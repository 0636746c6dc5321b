import pytest

from core.clock import MovableClock
from core.database import SessionFactory
from core.settings import Settings
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def world(
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    provider: FakeProvider,
    marts: object,
) -> World:
    """A synced shop with the welcome flow on and its delay at zero, at noon."""
    # Nobody sleeps here, so the pace is not waited for; its own tests set it.
    fast = settings.model_copy(update={"send_requests_per_second": 10_000})
    world = World(session_factory, fast, clock, provider)
    world.shop_id = world.add_shop()
    world.switch_welcome_on()
    return world


@pytest.fixture
def fresh(world: World) -> World:
    """The shop before its baseline."""
    world.set_shop(baseline_at=None)
    return world
