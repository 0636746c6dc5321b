from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import shops
from core.clock import MovableClock
from core.errors import PermanentError
from core.ingestion import orders, statistics
from core.ingestion.rows import order_row
from core.models import CustomerStatistics, Shop
from core.secrets import SecretBox
from core.settings import Settings
from core.shopify.shapes import Order
from tests.fixtures.shopify import (
    CLIENT_SECRET,
    DOMAIN,
    SHOP_NUMBER,
    FakeShopify,
    graphql,
    order_node,
)


def connect(session: Session, settings: Settings, clock: MovableClock, fake: FakeShopify) -> Shop:
    return shops.connect_shop(
        session, fake.client(), settings=settings, is_sandbox=False, clock=clock
    )


def test_a_connected_shop_is_kept_with_its_secret_encrypted(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    shop = connect(session, settings, clock, FakeShopify())
    session.flush()
    session.expire(shop)
    assert (shop.domain, shop.shopify_id, shop.currency) == (DOMAIN, SHOP_NUMBER, "EUR")
    assert shop.time_zone == "Europe/Berlin"
    assert "read_all_orders" in shop.access_scopes
    assert CLIENT_SECRET not in shop.client_secret_encrypted
    with shops.client_for(shop, settings) as client:
        assert client.client_secret == SecretStr(CLIENT_SECRET)
        assert client.domain == DOMAIN
    assert shops.shop_by_domain(session, DOMAIN) is shop
    assert shops.shop_by_domain(session, "other.myshopify.com") is None
    assert shops.all_shops(session) == [shop]


def test_connecting_again_updates_and_keeps_the_former_secret_for_webhooks(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    first = connect(session, settings, clock, FakeShopify())
    again = connect(session, settings, clock, FakeShopify(scopes=["read_orders"]))
    assert again is first
    assert again.access_scopes == ["read_orders"]
    assert again.previous_client_secret_encrypted is None
    box = SecretBox(settings.secret_key)
    again.client_secret_encrypted = box.encrypt("the one before")
    connect(session, settings, clock, FakeShopify())
    assert box.decrypt(again.client_secret_encrypted) == CLIENT_SECRET
    assert again.previous_client_secret_encrypted is not None
    assert box.decrypt(again.previous_client_secret_encrypted) == "the one before"
    # It stayed good for ever: whoever had the leaked secret could sign webhooks after a rotation.
    until = again.previous_client_secret_until
    assert until == clock.now() + timedelta(hours=2)
    clock.advance(timedelta(minutes=30))
    connect(session, settings, clock, FakeShopify())
    assert again.previous_client_secret_until == until


def test_a_secret_that_cannot_be_read_any_more_is_replaced(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    """After a change of ECOMCRM_SECRET_KEY the message said "connect the shop again", and that
    failed with the same message."""
    shop = connect(session, settings, clock, FakeShopify())
    shop.client_secret_encrypted = SecretBox(
        SecretStr("another key of thirty-two letters")
    ).encrypt(CLIENT_SECRET)
    connect(session, settings, clock, FakeShopify())
    assert SecretBox(settings.secret_key).decrypt(shop.client_secret_encrypted) == CLIENT_SECRET
    assert shop.previous_client_secret_encrypted is None


def test_a_shop_that_removed_the_app_is_back_when_it_is_connected_again(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    shop = connect(session, settings, clock, FakeShopify())
    shop.uninstalled_at = clock.now()
    session.flush()
    assert shops.installed_shops(session) == []
    connect(session, settings, clock, FakeShopify())
    assert shop.uninstalled_at is None
    assert shops.installed_shops(session) == [shop]


def test_another_currency_of_the_shop_moves_everybodys_sums(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    """No order changed, so no sync touched the sums: they stayed as they were for ever, and the
    data gate, which compares them with the orders, held every score back."""
    shop = connect(session, settings, clock, FakeShopify())
    row = order_row(msgspec.convert(order_node(11, 5), Order))
    orders.apply_few(session, shop.shop_id, [row], [], at=clock.now())
    shop.currency = "USD"  # as it was when the shop was connected first
    statistics.recompute_all(session, shop.shop_id, touched_at=clock.now())
    spent = select(CustomerStatistics.total_spent)
    assert session.scalars(spent).all() == [Decimal(0)]
    connect(session, settings, clock, FakeShopify())
    assert shop.currency == "EUR"
    assert session.scalars(spent).all() == [Decimal(10)]
    assert statistics.mismatches(session, shop.shop_id) == 0


def test_credentials_of_another_shop_are_refused(
    session: Session, settings: Settings, clock: MovableClock
) -> None:
    about = {
        "currentAppInstallation": None,
        "shop": {"id": "gid://shopify/Shop/1", "myshopifyDomain": "other.myshopify.com"},
    }
    fake = FakeShopify()
    fake.before.append(lambda request: graphql(about) if "graphql" in request.url.path else None)
    with pytest.raises(PermanentError, match="These credentials belong to other"):
        connect(session, settings, clock, fake)


def test_a_shops_clock_runs_ahead_only_where_it_was_moved(clock: MovableClock) -> None:
    shop = Shop(clock_offset=timedelta(0))
    assert shops.business_clock(shop, clock) is clock
    shop.clock_offset = timedelta(days=3)
    assert shops.business_clock(shop, clock).now() - clock.now() == timedelta(days=3)
