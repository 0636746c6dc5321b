"""Products that a line names and nobody has told us of: asked for once, read, shown."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.backoff import PRODUCT_SECONDS, REFRESH_SECONDS
from core.ingestion.refresh import RefreshReport, refresh_due
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.shopify import FakeShopify, graphql, order_body, product_node

WANTED = """
    SELECT object_id, attempts, next_attempt_at IS NULL AS is_given_up
    FROM raw_shopify.refresh_requests WHERE object_type = 'Product' ORDER BY 1"""
PRODUCTS = "SELECT product_id, title, image_url FROM raw_shopify.products ORDER BY 1"
Refresh = Callable[[], RefreshReport]


@pytest.fixture
def refresh(
    session_factory: SessionFactory, fake: FakeShopify, settings: Settings, clock: MovableClock
) -> Refresh:
    """Reads the products that are asked for, as if all were due."""
    client = fake.client()

    def run() -> RefreshReport:
        with session_scope(session_factory) as session:
            session.execute(
                text("DELETE FROM raw_shopify.refresh_requests WHERE object_type <> 'Product'")
            )
            session.execute(
                text(
                    "UPDATE raw_shopify.refresh_requests SET next_attempt_at = now()"
                    " WHERE next_attempt_at IS NOT NULL"
                )
            )
        return refresh_due(session_factory, lambda _: client, settings=settings, clock=clock)

    return run


def put(fake: FakeShopify, number: int, **changes: Any) -> None:
    node = product_node(number, **changes)
    fake.nodes[node["id"]] = {"__typename": "Product", **node}


def sold(number: int, product: int | None) -> dict[str, Any]:
    body = order_body(number, 5)
    body["line_items"][0]["product_id"] = product
    return body


@pytest.mark.requirement("SHOP-06")
def test_a_product_that_a_line_names_is_read_once(
    post: Post, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    image = "https://cdn.example/tea.png"
    put(fake, 77, featuredMedia={"preview": {"image": {"url": image}}})
    post(sold(11, 77))
    post(sold(12, 77))
    post(sold(13, None))
    assert rows(WANTED) == [(77, 0, False)]
    assert refresh() == RefreshReport(claimed=1, read=1)
    assert rows(PRODUCTS) == [(77, "Tea & Tools", image)]
    assert rows(WANTED) == []
    post(sold(14, 77))
    assert rows(WANTED) == [], "it is known"


def test_an_older_state_of_a_product_changes_nothing(
    post: Post, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    put(fake, 77, title="New", updatedAt="2026-11-20T10:00:00Z")
    post(sold(11, 77))
    refresh()
    rows(
        "INSERT INTO raw_shopify.refresh_requests VALUES"
        " (1, 'Product', 77, 'test', now(), 0, now()) RETURNING 1"
    )
    put(fake, 77, title="Old", updatedAt="2026-11-19T10:00:00Z")
    assert refresh().read == 1
    assert rows(PRODUCTS) == [(77, "New", None)]
    assert rows(WANTED) == []


@pytest.mark.requirement("SHOP-06")
def test_a_product_that_is_gone_is_given_up_and_not_asked_for_with_every_order(
    post: Post, refresh: Refresh, rows: Rows
) -> None:
    # With the steps of customers, the smoke test on a shop whose orders name such a product was
    # still waiting after three minutes.
    post(sold(11, 77))
    for _ in PRODUCT_SECONDS:
        assert refresh() == RefreshReport(claimed=1, postponed=1)
    assert refresh() == RefreshReport(claimed=1, given_up=1)
    post(sold(12, 77))
    assert rows(WANTED) == [(77, len(PRODUCT_SECONDS) + 1, True)]
    assert refresh() == RefreshReport()
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(2,)], "orders need no product"


def test_products_the_app_may_not_read_wait_and_hold_up_no_order(
    post: Post, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    denied = {"message": "Access denied.", "extensions": {"code": "ACCESS_DENIED"}}

    def refuse(asked: httpx.Request) -> httpx.Response | None:
        return graphql(None, errors=[denied]) if b"ProductsById" in asked.content else None

    fake.before.append(refuse)
    post(sold(11, 77))
    for _ in range(len(REFRESH_SECONDS) + 2):
        assert refresh() == RefreshReport(claimed=1, postponed=1)
    fake.before.clear()
    put(fake, 77)
    assert refresh() == RefreshReport(claimed=1, read=1)
    assert rows(PRODUCTS) == [(77, "Tea & Tools", None)]


def test_a_product_that_cannot_be_read_holds_up_no_other(
    post: Post, refresh: Refresh, fake: FakeShopify, rows: Rows
) -> None:
    put(fake, 77)
    put(fake, 78, createdAt="never")
    post(sold(11, 77))
    post(sold(12, 78))
    assert refresh() == RefreshReport(claimed=2, read=1, postponed=1)
    assert [row[0] for row in rows(PRODUCTS)] == [77]
    assert rows(WANTED) == [(78, 1, False)]
