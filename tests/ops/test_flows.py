from datetime import timedelta
from pathlib import Path

import pytest

from activation.automation.presets import WELCOME, seed_presets
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop
from ops import flows

DOMAIN = "x.myshopify.com"


@pytest.fixture
def factory(session_factory: SessionFactory, clock: MovableClock) -> SessionFactory:
    """One shop with its presets, switched off."""
    shop = Shop(
        domain=DOMAIN,
        name="X",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="-",
    )
    with session_scope(session_factory) as session:
        session.add(shop)
        session.flush()
        seed_presets(session, shop.shop_id, now=clock.now())
    return session_factory


def test_a_flow_goes_on_with_its_delay_and_off_again(factory: SessionFactory) -> None:
    assert not flows.was_ever_on(factory, DOMAIN, WELCOME)
    since = flows.turn_on(factory, WELCOME, delay=timedelta(minutes=5))
    [flow] = [each for each in flows.flows_of(factory) if each.key == WELCOME]
    assert (flow.is_on, flow.on_since, flow.delay_seconds) == (True, since, 300)
    flows.turn_off(factory, WELCOME, shop=DOMAIN)
    [flow] = [each for each in flows.flows_of(factory, DOMAIN) if each.key == WELCOME]
    assert not flow.is_on
    assert flows.was_ever_on(factory, DOMAIN, WELCOME)


def test_an_unknown_shop_or_flow_is_named(factory: SessionFactory) -> None:
    with pytest.raises(PermanentError, match=r"No shop y\.myshopify\.com"):
        flows.turn_on(factory, WELCOME, shop="y.myshopify.com")
    with pytest.raises(PermanentError, match="vips"):
        flows.turn_on(factory, "vips")


def test_a_flow_is_shown_exported_and_taken_in_again_without_a_new_version(
    factory: SessionFactory, tmp_path: Path
) -> None:
    files = flows.export(factory, None, shop=None)
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert all(
        not each["differences"] for each in flows.load(factory, tmp_path, shop=DOMAIN, writes=True)
    )
    edited = files["welcome.yaml"].replace("seconds: 3600", "seconds: 7200")
    (tmp_path / "welcome.yaml").write_text(edited, encoding="utf-8")
    planned = flows.load(factory, tmp_path / "welcome.yaml", shop=None, writes=False)
    assert [each["place"] for each in planned[0]["differences"]] == ["steps[delay].seconds"]
    assert flows.show(factory, WELCOME, shop=None)["version"] == 1
    assert flows.load(factory, tmp_path / "welcome.yaml", shop=None, writes=True) == planned
    shown = flows.show(factory, WELCOME, shop=None)
    assert (shown["version"], shown["is_on"], shown["yaml"]) == (2, False, edited)
    restored = flows.restore(factory, WELCOME, 1, shop=None)
    assert (restored["version"], restored["is_new"]) == (3, True)
    history = flows.history(factory, WELCOME, shop=None)
    assert [each["restored_from"] for each in history] == [1, None, None]
    figures = flows.statistics(factory, WELCOME, days=30, shop=None)
    assert figures["enrolled"] == 0


@pytest.mark.parametrize("delay", [timedelta(), timedelta(days=3650)])
def test_a_delay_of_nothing_or_of_years_is_refused(delay: timedelta) -> None:
    with pytest.raises(PermanentError, match="from 1 minute to 365 days"):
        flows.refuse_delay(delay)
