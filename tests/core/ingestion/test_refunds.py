"""Refunds of orders, told by webhooks and by orders read by id; files are in test_staging.py."""

import itertools
from typing import Any

import pytest

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.refresh import refresh_due, request
from core.models import Shop
from core.models.enums import ObjectType
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.shopify import (
    FakeShopify,
    line_node,
    money,
    order_body,
    order_node,
    refund_node,
)

REFUNDS = """
    SELECT refund_id, order_id, amount::float8, currency, processed_at::text
    FROM raw_shopify.refunds ORDER BY refund_id"""
REFUNDED = "SELECT refunded_total::float8, current_total::float8 FROM raw_shopify.orders"
SPENT = "SELECT total_spent::float8 FROM raw_shopify.customer_statistics"
FIRST = "2026-11-20T13:00:00Z"
SECOND = "2026-11-21T13:00:00Z"
THIRD = "2026-11-22T13:00:00Z"


def refund_body(number: int, *amounts: str, at: str = FIRST, status: str = "success") -> Any:
    paid = [
        {"kind": "refund", "status": status, "amount": amount, "currency": "EUR"}
        for amount in amounts
    ]
    return {"id": number, "processed_at": at, "transactions": paid}


def told(at: str, *refunds: Any, left: str = "10.00") -> dict[str, Any]:
    state = "partially_refunded" if refunds else "paid"
    body = order_body(
        11,
        5,
        updated_at=at,
        refunds=list(refunds),
        financial_status=state,
        current_total_price=left,
    )
    return body | {"current_total_price_set": None}


@pytest.fixture
def read(
    session_factory: SessionFactory,
    fake: FakeShopify,
    shop: Shop,
    settings: Settings,
    clock: MovableClock,
) -> Any:
    """Shopify answers with this state of order 11, asked for by id."""
    client = fake.client()

    def run(at: str, *refunds: dict[str, Any], **changes: Any) -> None:
        node = order_node(11, 5, updatedAt=at, refunds=list(refunds), **changes)
        fake.nodes[node["id"]] = node | {"lineItems": [line_node(110)]}
        with session_scope(session_factory) as session:
            request(session, shop.shop_id, ObjectType.ORDER, [11], "test", at=clock.now())
        report = refresh_due(session_factory, lambda _: client, settings=settings, clock=clock)
        assert report.read >= 1

    return run


@pytest.mark.requirement("SHOP-04", "SHOP-07")
def test_an_order_webhook_tells_each_refund_with_what_was_paid_back(post: Post, rows: Rows) -> None:
    refunds = [refund_body(91, "2.50", "1.25"), refund_body(92, "1.00", at=SECOND)]
    post(told(SECOND, *refunds, left="5.25"), "orders/updated")
    assert rows(REFUNDS) == [
        (91, 11, 3.75, "EUR", "2026-11-20 13:00:00+00"),
        (92, 11, 1.0, "EUR", "2026-11-21 13:00:00+00"),
    ]
    assert rows(REFUNDED) == [(4.75, 5.25)]
    assert rows(SPENT) == [(5.25,)]


def test_a_refund_of_which_no_money_went_back_is_one_of_nothing(post: Post, rows: Rows) -> None:
    """A restock, or a payment that failed."""
    post(told(FIRST, refund_body(91, "2.50", status="failure"), refund_body(92)), "orders/updated")
    assert [(row[0], row[2]) for row in rows(REFUNDS)] == [(91, 0.0), (92, 0.0)]


@pytest.mark.requirement("SHOP-06")
def test_any_order_of_an_orders_webhooks_ends_with_the_last_ones_refunds(
    post: Post, rows: Rows, session_factory: SessionFactory
) -> None:
    """One is added, one is corrected, one vanishes."""
    states = [
        (told(FIRST, refund_body(91, "1.00"), refund_body(90, "4.00")), "orders/updated"),
        (told(SECOND, refund_body(91, "2.00")), "orders/updated"),
        (told(THIRD, refund_body(91, "2.00"), refund_body(92, "3.00", at=THIRD)), "orders/updated"),
    ]
    for place, order in enumerate(itertools.permutations(states)):
        rows("DELETE FROM raw_shopify.refunds RETURNING 1")
        rows("DELETE FROM raw_shopify.order_lines RETURNING 1")
        rows("DELETE FROM raw_shopify.orders RETURNING 1")
        for body, topic in (*order, order[0]):
            post(body, topic)
        assert [(row[0], row[2]) for row in rows(REFUNDS)] == [(91, 2.0), (92, 3.0)], place


def test_a_body_that_does_not_tell_of_its_refunds_has_the_order_read(
    post: Post, rows: Rows
) -> None:
    post(told(FIRST, {"id": 91, "processed_at": FIRST}), "orders/updated")
    assert rows(REFUNDS) == []
    assert rows("SELECT object_id FROM raw_shopify.refresh_requests WHERE object_type = 'Order'")


@pytest.mark.requirement("SHOP-06", "SHOP-07")
def test_an_order_read_by_id_brings_its_refunds_and_takes_those_it_lacks(
    read: Any, rows: Rows
) -> None:
    left = {"currentTotalPriceSet": money("6.0"), "totalRefundedSet": money("4.0")}
    read(FIRST, refund_node(91, "1.5", at=FIRST), refund_node(92, "2.5", at=SECOND), **left)
    assert rows(REFUNDS) == [
        (91, 11, 1.5, "EUR", "2026-11-20 13:00:00+00"),
        (92, 11, 2.5, "EUR", "2026-11-21 13:00:00+00"),
    ]
    assert rows(REFUNDED) == [(4.0, 6.0)]
    assert rows(SPENT) == [(6.0,)]
    read(SECOND, refund_node(92, "2.75", at=SECOND))
    assert [(row[0], row[2]) for row in rows(REFUNDS)] == [(92, 2.75)]
    read(THIRD)
    assert rows(REFUNDS) == []


@pytest.mark.requirement("SHOP-06")
def test_an_older_state_read_by_id_changes_no_refund(read: Any, post: Post, rows: Rows) -> None:
    post(told(SECOND, refund_body(91, "2.00")), "orders/updated")
    before = rows(REFUNDS)
    read(FIRST)
    read(FIRST, refund_node(92, "9.0"))
    assert rows(REFUNDS) == before


@pytest.mark.requirement("SHOP-06")
def test_a_webhook_and_a_read_of_one_state_tell_the_same_refund(
    read: Any, post: Post, rows: Rows
) -> None:
    post(told(FIRST, refund_body(91, "2.50")), "orders/updated")
    seen = rows("SELECT xmin::text, * FROM raw_shopify.refunds")
    read(FIRST, refund_node(91, "2.5", at=FIRST))
    assert rows("SELECT xmin::text, * FROM raw_shopify.refunds") == seen, "not written again"


def test_refunds_of_neighbours_stay(read: Any, post: Post, rows: Rows) -> None:
    other = order_body(12, 5, refunds=[refund_body(95, "1.00")])
    post(other, "orders/updated")
    post(told(FIRST, refund_body(91, "2.00")), "orders/updated")
    read(SECOND)
    post(told(THIRD), "orders/updated")
    assert [row[0] for row in rows(REFUNDS)] == [95]
