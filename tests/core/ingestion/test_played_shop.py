"""A shop that the sandbox plays, told by its webhooks alone: our tables end as its own.

Its bodies are written from Shopify's documents and not from our readers, so a body that we misread
is found here.
"""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pytest

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.inbox import receive
from core.settings import Settings
from sandbox import shopkeeper
from sandbox.shopify import rest_shapes
from sandbox.shopify.webhooks import TOPICS
from sandbox.simulator import play_one
from tests.core.ingestion.conftest import Rows
from tests.fixtures.shopify import CLIENT_SECRET, add_shop
from tests.sandbox.support import DOMAIN
from tests.sandbox.town import Town, town_in

OCCASIONS = 220
DAY = 86_400.0


class Webhook(NamedTuple):
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town_in(tmp_path_factory.mktemp("played"), customers=20, orders=30) as town:
        town.now = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
        with town.store.write() as db:
            db.executemany(
                "insert into subscriptions (shop, topic, uri, created_at, updated_at)"
                " values (1, ?, 'http://127.0.0.1:1', 0, 0)",
                [[topic] for topic in TOPICS.values()],
            )
        tell_what_is_there(town)
        for _ in range(OCCASIONS):
            town.now += 900
            with town.shop() as shop:
                play_one(shop)
        a_few_rarer_things(town)
        yield town


def tell_what_is_there(town: Town) -> None:
    """As if the shop had been told of from its first day."""
    with town.shop() as shop:
        for (body,) in shop.db.execute("select body from customers order by num").fetchall():
            payload = rest_shapes.customer_payload(orjson.loads(body), zone=shop.zone)
            shop.announce("customers/create", payload)
        for num, body in shop.db.execute("select num, body from orders").fetchall():
            order = orjson.loads(body)
            owner = orjson.loads(shop.customer(number(order["customer"]["id"]))["body"])
            items = shop.items("line_items", num)
            payload = rest_shapes.order_payload(order, items, owner, shop=shop.row)
            shop.announce("orders/create", payload, order=num)


def a_few_rarer_things(town: Town) -> None:
    """Of each one at least, whatever the dice said."""
    buyers = [town.buys(f"rare{place}@example.com") for place in range(5)]
    with town.shop() as shop:
        shopkeeper.merge_customers(shop, buyers[0][0], buyers[1][0])
    with town.shop() as shop:
        shopkeeper.merge_customers(shop, buyers[2][0], buyers[0][0])
    with town.shop() as shop:
        shopkeeper.merge_customers(shop, buyers[2][0], buyers[3][0], fails=True)
    with town.shop() as shop:
        shopkeeper.delete_customer(shop, buyers[4][0])
    _, order = town.buys("rare5@example.com")
    with town.shop() as shop:
        shopkeeper.delete_order(shop, order)


def number(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def webhooks(town: Town) -> list[Webhook]:
    """All that was told, oldest first, as it would be delivered."""
    with town.store.read() as db:
        found = db.execute("select headers, body from deliveries order by num").fetchall()
    return [Webhook(json.loads(headers), bytes(body)) for headers, body in found]


def deliver(
    factory: SessionFactory, settings: Settings, clock: MovableClock, told: list[Webhook]
) -> None:
    for each in told:
        digest = hmac.digest(CLIENT_SECRET.encode(), each.body, hashlib.sha256)
        signed = {"X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode()}
        answer = receive(
            factory, headers=each.headers | signed, body=each.body, settings=settings, clock=clock
        )
        assert answer.status == 200, answer


def in_disorder(told: list[Webhook]) -> list[Webhook]:
    """Shuffled, a fifth twice."""
    rng = random.Random(5)  # noqa: S311 - repeatable
    mixed = told + rng.sample(told, len(told) // 5)
    rng.shuffle(mixed)
    return mixed


def theirs(town: Town) -> dict[str, Any]:
    """Orders by number, customers by number, checkouts by token, as the sandbox has them."""
    with town.store.read() as db:
        orders = {
            num: (owner, *_of_order(orjson.loads(body)))
            for num, owner, body in db.execute("select num, customer, body from orders")
        }
        customers = {
            num: (email, first, last)
            for num, email, first, last in db.execute(
                """select num, cast(body as text) ->> '$.defaultEmailAddress.emailAddress',
                     cast(body as text) ->> '$.firstName', cast(body as text) ->> '$.lastName'
                   from customers where exists (select 1 from deliveries where instr(
                     deliveries.body, cast('"gid://shopify/Customer/' || num || '"' as blob)))"""
            )
        }
        checkouts = {
            token: (owner, completed is not None, _amount(orjson.loads(body)["totalPriceSet"]))
            for token, owner, completed, body in db.execute(
                "select token, customer, completed_at, body from checkouts"
                " where created_at > 1790000000"
            )
        }
    return {"orders": orders, "customers": customers, "checkouts": checkouts}


def _of_order(order: dict[str, Any]) -> tuple[Any, ...]:
    return (
        order["displayFinancialStatus"],
        order["cancelledAt"] is not None,
        _amount(order["currentTotalPriceSet"]),
        _amount(order["totalRefundedSet"]),
    )


def _amount(bag: dict[str, Any]) -> Decimal:
    return Decimal(bag["shopMoney"]["amount"])


def ours(rows: Rows) -> dict[str, Any]:
    """The same of our tables. Orders of a deleted customer have nobody to them, as at Shopify."""
    orders = rows(
        """SELECT order_id, CASE WHEN customers.deleted_at IS NULL THEN orders.customer_id END,
             financial_status, cancelled_at IS NOT NULL, current_total, refunded_total
           FROM raw_shopify.orders LEFT JOIN raw_shopify.customers USING (shop_id, customer_id)"""
    )
    customers = rows(
        "SELECT customer_id, email, first_name, last_name FROM raw_shopify.customers"
        " WHERE deleted_at IS NULL"
    )
    checkouts = rows(
        """SELECT token, CASE WHEN customers.deleted_at IS NULL THEN checkouts.customer_id END,
             completed_at IS NOT NULL, total
           FROM raw_shopify.checkouts LEFT JOIN raw_shopify.customers USING (shop_id, customer_id)
           WHERE checkouts.deleted_at IS NULL"""
    )
    return {
        "orders": {row[0]: row[1:] for row in orders},
        "customers": {row[0]: row[1:] for row in customers},
        "checkouts": {row[0]: row[1:] for row in checkouts},
    }


def differences(mine: dict[str, Any], shops: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{kind} {key}": (mine[kind].get(key), shops[kind].get(key))
        for kind in shops
        for key in mine[kind].keys() | shops[kind].keys()
        if mine[kind].get(key) != shops[kind].get(key)
    }


@pytest.mark.requirement("SHOP-04", "SHOP-05", "SHOP-06")
@pytest.mark.parametrize("in_order", [True, False])
def test_webhooks_alone_lead_to_the_shops_own_rows(
    played: Town,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    rows: Rows,
    *,
    in_order: bool,
) -> None:
    with session_scope(session_factory) as session:
        add_shop(session, settings, domain=DOMAIN, shopify_id=1)
    told = webhooks(played)
    assert {each.headers["X-Shopify-Topic"] for each in told} >= {
        *("orders/edited", "orders/delete", "refunds/create", "customers/merge"),
        *("customers/delete", "customer.tags_added", "checkouts/delete"),
    }
    deliver(session_factory, settings, clock, told if in_order else in_disorder(told))
    failed = rows(
        "SELECT topic, error FROM raw_shopify.webhook_inbox WHERE state NOT IN ('applied')"
    )
    assert failed == []
    assert differences(ours(rows), theirs(played)) == {}
