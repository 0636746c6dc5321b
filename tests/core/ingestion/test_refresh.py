import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.refresh import RefreshReport, refresh_due, request
from core.models import Shop
from core.models.enums import ObjectType
from core.settings import Settings
from tests.core.ingestion.conftest import Rows
from tests.fixtures.shopify import (
    FakeShopify,
    add_shop,
    customer_node,
    graphql,
    line_node,
    money,
    order_node,
)

WAITING = """
    SELECT object_id, attempts, error, next_attempt_at > clock_timestamp() AS waits
    FROM raw_shopify.refresh_requests ORDER BY object_type, object_id"""
Ask = Callable[..., None]
Refresh = Callable[..., RefreshReport]


@pytest.fixture
def ask(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> Ask:
    def put(kind: ObjectType, *ids: int) -> None:
        with session_scope(session_factory) as session:
            request(session, shop.shop_id, kind, ids, "test", at=clock.now())

    return put


@pytest.fixture
def refresh(
    session_factory: SessionFactory, fake: FakeShopify, settings: Settings, clock: MovableClock
) -> Refresh:
    client = fake.client()

    def run(**options: Any) -> RefreshReport:
        return refresh_due(
            session_factory, lambda _: client, settings=settings, clock=clock, **options
        )

    return run


def make_due(factory: SessionFactory) -> None:
    with session_scope(factory) as session:
        session.execute(
            text(
                "UPDATE raw_shopify.refresh_requests SET next_attempt_at = clock_timestamp()"
                " WHERE next_attempt_at IS NOT NULL"
            )
        )


def add(fake: FakeShopify, *nodes: dict[str, Any]) -> None:
    for node in nodes:
        kind = "Customer" if "Customer" in node["id"] else "Order"
        fake.nodes[node["id"]] = {"__typename": kind, **node}


@pytest.mark.requirement("SHOP-06")
def test_a_customer_is_read_whole_and_the_request_is_gone(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    add(fake, customer_node(5, tags=["vip"]))
    ask(ObjectType.CUSTOMER, 5)
    assert refresh() == RefreshReport(claimed=1, read=1)
    assert rows("SELECT customer_id, consent_state, tags FROM raw_shopify.customers") == [
        (5, "SUBSCRIBED", ["vip"])
    ]
    assert rows(WAITING) == []
    assert refresh() == RefreshReport()


@pytest.mark.requirement("SHOP-06", "RFM-04")
def test_an_order_is_read_with_its_lines_and_statistics(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    refunded = order_node(
        11, 5, total="10.0", currentTotalPriceSet=money("4.0"), totalRefundedSet=money("6.0")
    )
    add(fake, refunded | {"lineItems": [line_node(111), line_node(112)]})
    ask(ObjectType.ORDER, 11)
    assert refresh() == RefreshReport(claimed=1, read=1)
    assert rows("SELECT refunded_total::text FROM raw_shopify.orders") == [("6.0000",)]
    assert rows("SELECT line_id FROM raw_shopify.order_lines ORDER BY 1") == [(111,), (112,)]
    assert rows("SELECT order_count, total_spent::text FROM raw_shopify.customer_statistics") == [
        (1, "4.0000")
    ]
    assert rows("SELECT object_type, object_id FROM raw_shopify.refresh_requests ORDER BY 1") == [
        ("Customer", 5),
        ("Product", 77),
    ], "its customer and what was bought are not known yet"


@pytest.mark.parametrize("scope", ["read_products", "read_themes"])
def test_an_order_is_read_without_its_products_where_those_may_not_be_read(
    *,
    ask: Ask,
    refresh: Refresh,
    fake: FakeShopify,
    session_factory: SessionFactory,
    shop: Shop,
    scope: str,
) -> None:
    """On every page of its lines: Shopify refuses the whole query for one field."""
    with session_scope(session_factory) as session:
        session.get_one(Shop, shop.shop_id).access_scopes = ["read_orders", scope]
    add(fake, order_node(11) | {"lineItems": [line_node(1000 + n) for n in range(60)]})
    ask(ObjectType.ORDER, 11)
    assert refresh().read == 1
    asked = [each.content for each in fake.requests if b"OrdersById" in each.content]
    assert [b"product { id }" in each for each in asked] == [scope == "read_products"] * 2


def test_a_long_order_is_read_page_by_page(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    add(fake, order_node(11) | {"lineItems": [line_node(1000 + n) for n in range(137)]})
    add(fake, order_node(12) | {"lineItems": [line_node(2000 + n) for n in range(50)]})
    ask(ObjectType.ORDER, 11, 12)
    assert refresh() == RefreshReport(claimed=2, read=2)
    counts = "SELECT order_id, count(*) FROM raw_shopify.order_lines GROUP BY 1 ORDER BY 1"
    assert rows(counts) == [(11, 137), (12, 50)]


def test_an_order_that_changes_while_it_is_read_is_read_again(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    def touch(request: httpx.Request) -> None:
        if b'"after":"50"' in request.content.replace(b" ", b""):
            fake.nodes["gid://shopify/Order/11"]["updatedAt"] = "2026-11-19T11:00:00Z"  # type: ignore[index]

    add(fake, order_node(11) | {"lineItems": [line_node(1000 + n) for n in range(60)]})
    fake.before.append(touch)
    ask(ObjectType.ORDER, 11)
    assert refresh() == RefreshReport(claimed=1, postponed=1)
    assert rows("SELECT 1 FROM raw_shopify.orders") == []


@pytest.mark.requirement("SHOP-06")
def test_what_shopify_does_not_show_yet_is_asked_for_again_and_then_given_up(
    ask: Ask, refresh: Refresh, rows: Rows, session_factory: SessionFactory
) -> None:
    ask(ObjectType.CUSTOMER, 5)
    assert refresh() == RefreshReport(claimed=1, postponed=1)
    [(_, attempts, error, waits)] = rows(WAITING)
    assert (attempts, waits) == (1, True)
    assert "does not show" in str(error)
    assert refresh() == RefreshReport()
    for _ in range(8):
        make_due(session_factory)
        assert refresh() == RefreshReport(claimed=1, postponed=1)
    make_due(session_factory)
    assert refresh() == RefreshReport(claimed=1, given_up=1)
    assert rows(WAITING) == [(5, 10, error, None)]
    ask(ObjectType.CUSTOMER, 5)
    assert rows(WAITING) == [(5, 0, None, False)], "asked for anew, it is due at once"


def test_while_shopify_cannot_be_reached_nothing_is_given_up(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows, session_factory: SessionFactory
) -> None:
    fake.before.append(lambda _: httpx.Response(402))
    ask(ObjectType.CUSTOMER, 5)
    for _ in range(15):
        make_due(session_factory)
        assert refresh() == RefreshReport(claimed=1, postponed=1)
    assert "frozen" in str(rows(WAITING)[0][2])
    fake.before.clear()
    add(fake, customer_node(5))
    make_due(session_factory)
    assert refresh().read == 1


@pytest.mark.requirement("SHOP-06")
def test_a_request_made_anew_while_it_is_read_stays(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    def ask_again(request: httpx.Request) -> None:
        if b"CustomersById" in request.content:
            ask(ObjectType.CUSTOMER, 5)

    add(fake, customer_node(5))
    fake.before.append(ask_again)
    ask(ObjectType.CUSTOMER, 5)
    assert refresh().read == 1
    assert rows(WAITING) == [(5, 0, None, False)]
    fake.before.clear()
    assert refresh().read == 1
    assert rows(WAITING) == []


def test_no_transaction_is_open_while_shopify_is_asked(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    seen: list[Any] = []

    def watch(request: httpx.Request) -> None:
        if b"CustomersById" in request.content:
            seen.extend(
                rows(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND state LIKE 'idle in transaction%'"
                )
            )

    add(fake, customer_node(5))
    fake.before.append(watch)
    ask(ObjectType.CUSTOMER, 5)
    refresh()
    assert seen == [(0,)]


def test_a_state_older_than_the_one_a_webhook_told_is_not_the_answer(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows, session_factory: SessionFactory
) -> None:
    """The consent would stay unknown for good: nothing older is ever applied."""
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "INSERT INTO raw_shopify.customers (shop_id, customer_id, created_at, updated_at)"
                " VALUES (1, 5, now(), '2026-11-19T11:00:00Z')"
            )
        )
    add(fake, customer_node(5))
    ask(ObjectType.CUSTOMER, 5)
    assert refresh() == RefreshReport(claimed=1, postponed=1)
    assert "older state" in str(rows(WAITING)[0][2])
    add(fake, customer_node(5, updatedAt="2026-11-19T11:00:00Z"))
    make_due(session_factory)
    assert refresh().read == 1
    assert rows("SELECT consent_state FROM raw_shopify.customers") == [("SUBSCRIBED",)]


@pytest.mark.parametrize(
    "node",
    [
        {"id": "gid://shopify/Customer/6"},
        customer_node(6) | {"defaultEmailAddress": {"marketingState": "MAYBE"}},
        customer_node(6, createdAt="0001-01-01T00:00:00Z"),
        # The database refused so long an address: none of the batch was ever settled.
        customer_node(6)
        | {"defaultEmailAddress": {"emailAddress": "é" * 3000, "marketingState": "SUBSCRIBED"}},
    ],
)
def test_an_answer_that_cannot_be_used_holds_up_no_other(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows, node: dict[str, Any]
) -> None:
    add(fake, customer_node(5), node)
    ask(ObjectType.CUSTOMER, 5, 6)
    assert refresh() == RefreshReport(claimed=2, read=1, postponed=1)
    [(object_id, _, error, _)] = rows(WAITING)
    assert object_id == 6
    assert "cannot be used" in str(error)


def test_half_a_character_in_a_name_holds_up_no_other(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    """JSON can spell half of a surrogate pair, which no database takes: the batch was read again
    and again, and none of its customers ever got a consent."""
    nodes = [customer_node(5), customer_node(6, firstName="A\ud83d", tags=["\udc00"])]
    answer = json.dumps({"data": {"nodes": nodes}})
    fake.before.append(
        lambda request: (
            httpx.Response(200, text=answer) if b"nodes(ids" in request.content else None
        )
    )
    ask(ObjectType.CUSTOMER, 5, 6)
    assert refresh() == RefreshReport(claimed=2, read=2)
    assert rows("SELECT first_name, tags FROM raw_shopify.customers WHERE customer_id = 6") == [
        ("A?", ["?"])
    ]


def test_a_call_names_at_most_250_customers_and_few_orders(
    ask: Ask, refresh: Refresh, fake: FakeShopify
) -> None:
    add(fake, *(customer_node(number) for number in range(1, 301)))
    add(fake, *(order_node(number) | {"lineItems": []} for number in range(1, 31)))
    ask(ObjectType.CUSTOMER, *range(1, 301))
    ask(ObjectType.ORDER, *range(1, 31))
    assert refresh(limit=1000) == RefreshReport(claimed=330, read=330)
    sizes = [request.content.count(b"gid://") for request in fake.requests[1:]]
    assert sizes == [250, 50, 20, 10]


def test_a_call_that_is_too_dear_is_split(ask: Ask, refresh: Refresh, fake: FakeShopify) -> None:
    too_dear = {"message": "too dear", "extensions": {"code": "MAX_COST_EXCEEDED"}}

    def refuse(request: httpx.Request) -> httpx.Response | None:
        if request.content.count(b"gid://") > 3:
            return graphql(None, errors=[too_dear])
        return None

    add(fake, *(order_node(number) | {"lineItems": []} for number in range(1, 11)))
    fake.before.append(refuse)
    ask(ObjectType.ORDER, *range(1, 11))
    assert refresh().read == 10


def test_a_worker_that_died_gives_its_requests_back_after_a_while(
    ask: Ask, refresh: Refresh, fake: FakeShopify, rows: Rows, session_factory: SessionFactory
) -> None:
    def die(_: httpx.Request) -> None:
        raise KeyboardInterrupt

    add(fake, customer_node(5))
    fake.before.append(die)
    ask(ObjectType.CUSTOMER, 5)
    with pytest.raises(KeyboardInterrupt):
        refresh()
    fake.before.clear()
    assert refresh() == RefreshReport()
    [(lease,)] = rows(
        "SELECT next_attempt_at - clock_timestamp() < interval '61 seconds'"
        " FROM raw_shopify.refresh_requests"
    )
    assert lease is True
    make_due(session_factory)
    assert refresh().read == 1


def test_a_shop_in_trouble_holds_up_no_other(
    *,
    ask: Ask,
    fake: FakeShopify,
    rows: Rows,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
) -> None:
    with session_scope(session_factory) as session:
        other = add_shop(session, settings, domain="other.myshopify.com")
        request(session, other.shop_id, ObjectType.CUSTOMER, [5], "test", at=clock.now())
    ask(ObjectType.CUSTOMER, 5)
    add(fake, customer_node(5))
    broken = FakeShopify(before=[lambda _: httpx.Response(404)])
    clients = {1: broken.client(), other.shop_id: fake.client()}
    report = refresh_due(session_factory, clients.__getitem__, settings=settings, clock=clock)
    assert report == RefreshReport(claimed=2, read=1, postponed=1)
    assert rows("SELECT shop_id FROM raw_shopify.customers") == [(other.shop_id,)]
