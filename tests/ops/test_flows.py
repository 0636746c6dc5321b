from datetime import timedelta

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
    [flow] = flows.flows_of(factory)
    assert (flow.is_on, flow.on_since, flow.delay_seconds) == (True, since, 300)
    flows.turn_off(factory, WELCOME, shop=DOMAIN)
    [flow] = flows.flows_of(factory, DOMAIN)
    assert not flow.is_on
    assert flows.was_ever_on(factory, DOMAIN, WELCOME)


def test_an_unknown_shop_or_flow_is_named(factory: SessionFactory) -> None:
    with pytest.raises(PermanentError, match=r"No shop y\.myshopify\.com"):
        flows.turn_on(factory, WELCOME, shop="y.myshopify.com")
    with pytest.raises(PermanentError, match="vip"):
        flows.turn_on(factory, "vip")
