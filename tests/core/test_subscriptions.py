import json

import httpx
import pytest

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.models import Shop
from core.scopes import NEEDED, missing_scopes
from core.settings import Settings
from core.subscriptions import (
    WEBHOOK_TOPICS,
    Subscriptions,
    check_subscriptions,
    receiver_address,
    register_webhooks,
)
from tests.fixtures.shopify import FakeShopify, Json, add_shop, graphql

ADDRESS = "https://crm.example/webhooks/shopify"


def told(fake: FakeShopify) -> set[tuple[str, str]]:
    return {(each["topic"], each["uri"]) for each in fake.subscriptions}


EVERYTHING = {(topic, ADDRESS) for topic in WEBHOOK_TOPICS}


def subscription(number: int, topic: str, uri: str = ADDRESS) -> Json:
    return {"id": f"gid://shopify/WebhookSubscription/{number}", "topic": topic, "uri": uri}


def denies(topic: str, *, errors: bool = False, words: str = "not allowed") -> FakeShopify:
    """A Shopify that refuses one topic, as a user error or as a missing scope."""
    answer = {"webhookSubscription": None, "userErrors": [{"field": None, "message": words}]}
    denied = [{"message": words, "extensions": {"code": "ACCESS_DENIED"}}]

    def refuse(request: httpx.Request) -> httpx.Response | None:
        if b"webhookSubscriptionCreate(" not in request.content:
            return None
        if json.loads(request.content)["variables"]["topic"] != topic:
            return None
        return graphql(
            {"webhookSubscriptionCreate": None if errors else answer},
            errors=denied if errors else None,
        )

    return FakeShopify(before=[refuse])


def test_no_topic_is_named_twice() -> None:
    assert len(set(WEBHOOK_TOPICS)) == len(WEBHOOK_TOPICS)


@pytest.mark.requirement("SHOP-04")
def test_only_missing_topics_are_subscribed() -> None:
    elsewhere = subscription(900, "ORDERS_CREATE", "https://somebody.example/webhooks/shopify")
    there = subscription(901, "ORDERS_PAID")
    fake = FakeShopify(subscriptions=[elsewhere, there])
    with fake.client() as client:
        found = register_webhooks(client, ADDRESS)
        assert found.subscribed == WEBHOOK_TOPICS
        assert (found.created, found.deleted) == (len(WEBHOOK_TOPICS) - 1, 0)
        assert told(fake) == EVERYTHING | {("ORDERS_CREATE", elsewhere["uri"])}
        again = register_webhooks(client, ADDRESS)
        assert again == Subscriptions(WEBHOOK_TOPICS)


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(subscription(900, "ORDERS_PAID"), id="the same topic twice"),
        pytest.param(
            subscription(900, "ORDERS_PAID", "http://crm.example:8400/webhooks/shopify"),
            id="another port",
        ),
        pytest.param(subscription(900, "ORDERS_PAID", "https://crm.example/old"), id="a path"),
        pytest.param(subscription(900, "PRODUCTS_CREATE"), id="a topic that is not used"),
    ],
)
def test_what_points_elsewhere_on_our_host_or_is_there_twice_is_deleted(stale: Json) -> None:
    present = [subscription(number, topic) for number, topic in enumerate(WEBHOOK_TOPICS)]
    fake = FakeShopify(subscriptions=[*present, stale])
    found = register_webhooks(fake.client(), ADDRESS)
    assert (found.created, found.deleted) == (0, 1)
    assert fake.subscriptions == present


def test_an_address_that_is_no_page_is_left_alone() -> None:
    queue = subscription(900, "ORDERS_PAID", "arn:aws:events:eu-1::event-source/x")
    fake = FakeShopify(subscriptions=[queue])
    register_webhooks(fake.client(), ADDRESS)
    assert queue in fake.subscriptions


@pytest.mark.parametrize("errors", [True, False])
def test_a_topic_that_is_refused_stops_no_other(*, errors: bool) -> None:
    """The first refusal ended the rest: without one scope no webhook came at all."""
    fake = denies("CUSTOMERS_MERGE", errors=errors)
    found = register_webhooks(fake.client(), ADDRESS)
    assert told(fake) == EVERYTHING - {("CUSTOMERS_MERGE", ADDRESS)}
    assert set(found.refused) == {"CUSTOMERS_MERGE"}
    assert found.problem is not None
    assert "Shopify does not tell us of: CUSTOMERS_MERGE (" in found.problem
    assert "not allowed" in found.problem


def test_a_subscription_that_the_apps_configuration_holds_is_no_problem() -> None:
    fake = denies("ORDERS_PAID", words="Address for this topic has already been taken")
    assert register_webhooks(fake.client(), ADDRESS).problem is None


@pytest.fixture
def shop_id(session_factory: SessionFactory, settings: Settings) -> int:
    """A shop with a problem of yesterday."""
    with session_scope(session_factory) as session:
        return add_shop(session, settings, webhooks_problem="of yesterday").shop_id


def stored(factory: SessionFactory, shop_id: int) -> Shop:
    with session_scope(factory) as session:
        return session.get_one(Shop, shop_id)


def test_a_check_brings_back_what_shopify_deleted_and_keeps_the_outcome(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    fake = FakeShopify(subscriptions=[subscription(1, topic) for topic in WEBHOOK_TOPICS[1:]])
    found = check_subscriptions(
        session_factory, fake.client(), shop_id=shop_id, address=ADDRESS, now=clock.now()
    )
    assert found.created == 1
    assert told(fake) == EVERYTHING
    shop = stored(session_factory, shop_id)
    assert (shop.webhooks_checked_at, shop.webhooks_problem) == (clock.now(), None)
    assert shop.access_scopes == sorted(fake.scopes)


def test_a_check_keeps_in_words_what_is_not_subscribed(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    fake = denies("APP_UNINSTALLED", errors=True)
    check_subscriptions(
        session_factory, fake.client(), shop_id=shop_id, address=ADDRESS, now=clock.now()
    )
    problem = stored(session_factory, shop_id).webhooks_problem
    assert problem is not None
    assert "APP_UNINSTALLED" in problem


def test_shopify_sends_to_https_only_and_the_shop_says_so(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    assert receiver_address("https://crm.example") == ADDRESS
    assert receiver_address("http://127.0.0.1:8400") is None
    assert receiver_address("http://127.0.0.1:8400", is_sandbox=True) is not None
    fake = FakeShopify()
    check_subscriptions(
        session_factory, fake.client(), shop_id=shop_id, address=None, now=clock.now()
    )
    assert fake.subscriptions == []
    shop = stored(session_factory, shop_id)
    assert "is not https" in (shop.webhooks_problem or "")
    assert shop.access_scopes == sorted(fake.scopes)


@pytest.mark.parametrize(("status", "kind"), [(402, PermanentError), (503, TransientError)])
def test_a_check_that_fails_keeps_why_and_the_scopes_as_they_were(
    session_factory: SessionFactory,
    shop_id: int,
    clock: MovableClock,
    status: int,
    kind: type[Exception],
) -> None:
    fake = FakeShopify(
        before=[lambda request: httpx.Response(status) if "graphql" in request.url.path else None]
    )
    with pytest.raises(kind):
        check_subscriptions(
            session_factory, fake.client(), shop_id=shop_id, address=ADDRESS, now=clock.now()
        )
    shop = stored(session_factory, shop_id)
    assert shop.webhooks_problem is not None
    assert str(status) in shop.webhooks_problem
    assert shop.access_scopes == ["read_all_orders"]


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        (list(NEEDED), []),
        (["write_customers", "read_orders", "read_all_orders", "write_products"], []),
        (
            ["read_customers", "read_orders"],
            ["write_customers", "read_all_orders", "read_products"],
        ),
    ],
)
def test_a_scope_to_write_includes_reading(granted: list[str], missing: list[str]) -> None:
    assert missing_scopes(granted) == missing
