from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from core import shops
from core.clock import MovableClock
from core.errors import PermanentError
from core.models import Shop
from core.secrets import SecretBox
from core.settings import Settings
from tests.fixtures.shopify import CLIENT_SECRET, DOMAIN, SHOP_NUMBER, FakeShopify, graphql

ADDRESS = "https://crm.example/webhooks/shopify"


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


def test_only_missing_webhooks_are_created() -> None:
    elsewhere = {"id": "x", "topic": "ORDERS_CREATE", "uri": "https://old.example"}
    fake = FakeShopify(subscriptions=[elsewhere])
    with fake.client() as client:
        topics = shops.register_webhooks(client, ADDRESS)
        assert topics == list(shops.WEBHOOK_TOPICS)
        assert len(fake.subscriptions) == 1 + len(topics)
        shops.register_webhooks(client, ADDRESS)
        assert len(fake.subscriptions) == 1 + len(topics)


@pytest.mark.parametrize(
    ("words", "is_refused"),
    [("Address for this topic has already been taken", False), ("Address is invalid", True)],
)
def test_a_refused_subscription_is_an_error_unless_it_is_there_already(
    words: str, *, is_refused: bool
) -> None:
    answer = {
        "webhookSubscriptionCreate": {
            "webhookSubscription": None,
            "userErrors": [{"field": None, "message": words}],
        }
    }

    def refuse(request: httpx.Request) -> httpx.Response | None:
        return graphql(answer) if b"webhookSubscriptionCreate" in request.content else None

    fake = FakeShopify(before=[refuse])
    if not is_refused:
        shops.register_webhooks(fake.client(), ADDRESS)
        return
    with pytest.raises(PermanentError, match=words):
        shops.register_webhooks(fake.client(), ADDRESS)


def test_a_shops_clock_runs_ahead_only_where_it_was_moved(clock: MovableClock) -> None:
    shop = Shop(clock_offset=timedelta(0))
    assert shops.business_clock(shop, clock) is clock
    shop.clock_offset = timedelta(days=3)
    assert shops.business_clock(shop, clock).now() - clock.now() == timedelta(days=3)
