"""What `ecomcrm flows dry-run` and `flows backtest` print, on the database they would open."""

from datetime import timedelta

import pytest

from core.clock import MovableClock, SystemClock
from core.database import SessionFactory
from core.errors import PermanentError
from core.settings import Settings
from ops.forecast_cli import backtest_lines, backtest_of, dry_run_lines, dry_run_of
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World

pytestmark = pytest.mark.requirement("AUTO-07")


def test_a_forecast_is_told_in_lines(
    session_factory: SessionFactory, settings: Settings, marts: object
) -> None:
    world = World(session_factory, settings, MovableClock(SystemClock().now()), FakeProvider())
    world.shop_id = world.add_shop(domain="ash.myshopify.com")
    world.switch_welcome_on()
    world.clock.advance(timedelta(seconds=-60))
    world.buyers([1, 2])
    off = "\n".join(dry_run_lines(dry_run_of(world.factory, settings, None, "welcome")))
    assert "0 would enter" in off  # their orders were before the flow was on
    lines = "\n".join(backtest_lines(backtest_of(world.factory, settings, None, "welcome", days=2)))
    assert "2 entries of 2 customers" in lines
    assert "2 mails, 0 held out" in lines
    assert "Note: Consent is as the ledger has it" in lines
    with pytest.raises(PermanentError, match="no automation 'other'"):
        backtest_of(world.factory, settings, None, "other", days=2)
