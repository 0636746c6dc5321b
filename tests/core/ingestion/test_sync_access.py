"""What the app may not read, a version Shopify no longer serves, a shop that removed the app."""

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop
from core.models.enums import SyncKind
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import (
    FakeShopify,
    checkout_node,
    customer_node,
    graphql,
    order_node,
    product_node,
)

RUN = "SELECT state, error, warning FROM raw_shopify.sync_runs ORDER BY sync_run_id DESC LIMIT 1"
WARNINGS = "SELECT object_type, message FROM raw_shopify.sync_log WHERE level = 'warning'"


@pytest.fixture(autouse=True)
def _shop_with_data(fake: FakeShopify) -> None:
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1)]
    fake.checkouts = [checkout_node(51, 1)]
    fake.products = [product_node(77)]


def refused_when_asked(fake: FakeShopify, connection: str) -> None:
    """The submission itself is refused."""

    def respond(request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperationRunQuery" not in request.content or (
            f"{connection}(".encode() not in request.content
        ):
            return None
        denied = {"code": "ACCESS_DENIED", "requiredAccess": "`read_products` access scope."}
        message = f"Access denied for {connection} field."
        return graphql(None, errors=[{"message": message, "extensions": denied}])

    fake.before.append(respond)


def refused_when_run(fake: FakeShopify, connection: str) -> None:
    """The operation is accepted, and ends FAILED."""

    def respond(request: httpx.Request) -> httpx.Response | None:
        for gid, state in fake.operations.items():
            number = int(gid.rpartition("/")[2])
            if f"{connection}(" in fake.queries[number - 1] and (
                f'{gid}"'.encode() in request.content
            ):
                denied = {"status": "FAILED", "errorCode": "ACCESS_DENIED", "url": None}
                shown = {k: v for k, v in state.items() if k != "content"}
                return graphql({"bulkOperation": shown | denied})
        return None

    fake.before.append(respond)


REFUSALS = [refused_when_asked, refused_when_run]


@pytest.mark.parametrize("refuse", REFUSALS)
@pytest.mark.parametrize(
    ("connection", "table", "object_type", "words"),
    [
        ("products", "products", "Product", "read_products"),
        ("abandonedCheckouts", "checkouts", "AbandonedCheckout", "reminded of a cart"),
    ],
)
def test_a_type_the_app_may_not_read_is_left_out_and_said(
    sync: Sync,
    fake: FakeShopify,
    rows: Rows,
    refuse: Callable[[FakeShopify, str], None],
    *,
    connection: str,
    table: str,
    object_type: str,
    words: str,
) -> None:
    refuse(fake, connection)
    report = sync()
    assert (report.customers, report.orders) == (1, 1)
    assert rows(f"SELECT count(*) FROM raw_shopify.{table}") == [(0,)]
    [(state, error, warning)] = rows(RUN)
    assert (state, error) == ("completed", None)
    assert words in str(warning)
    assert rows(WARNINGS) == [(object_type, warning)]
    assert len(rows("SELECT 1 FROM raw_shopify.sync_cursors")) == 3


@pytest.mark.parametrize("refuse", REFUSALS)
@pytest.mark.parametrize("connection", ["customers", "orders"])
def test_without_customers_or_orders_the_sync_fails_in_words(
    sync: Sync,
    fake: FakeShopify,
    rows: Rows,
    refuse: Callable[[FakeShopify, str], None],
    *,
    connection: str,
) -> None:
    refuse(fake, connection)
    with pytest.raises(PermanentError):
        sync()
    [(state, error, _)] = rows(RUN)
    assert state == "failed"
    assert "may not read" in str(error)
    assert rows("SELECT first_sync_completed_at FROM crm.shops") == [(None,)]
    assert len(rows("SELECT 1 FROM raw_shopify.sync_cursors")) == 3, "the others are loaded"
    assert rows("SELECT count(*) FROM raw_shopify.sync_log WHERE level = 'error'") == [(2,)]


@pytest.mark.parametrize("granted", [["read_products"], ["write_products"], []])
def test_orders_are_asked_for_with_their_products_only_where_those_may_be_read(
    sync: Sync, fake: FakeShopify, rows: Rows, granted: list[str]
) -> None:
    """Shopify refuses a whole export for one field that the app may not read."""
    fake.scopes = [scope for scope in fake.scopes if scope != "read_products"] + granted
    sync()
    [orders] = [query for query in fake.queries if "orders(" in query]
    [checkouts] = [query for query in fake.queries if "abandonedCheckouts(" in query]
    assert ("product { id }" in orders) is bool(granted)
    assert ("product { id }" in checkouts) is bool(granted)
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(1,)]


def test_an_api_version_that_is_not_served_any_more_is_a_warning(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    def fall_forward(request: httpx.Request) -> httpx.Response | None:
        fake.before.remove(fall_forward)
        response = fake.handle(request)
        fake.before.append(fall_forward)
        if request.url.path.endswith("graphql.json"):
            response.headers["X-Shopify-API-Version"] = "2026-10"
        return response

    fake.before.append(fall_forward)
    sync()
    [(state, _, warning)] = rows(RUN)
    assert state == "completed"
    assert "does not serve API version 2026-07 any more; 2026-10 answered" in str(warning)
    assert rows(WARNINGS) == [(None, warning)]
    assert rows("SELECT DISTINCT api_version FROM raw_shopify.bulk_operations") == [("2026-10",)]


def test_a_version_that_is_served_is_no_warning(sync: Sync, rows: Rows) -> None:
    sync()
    assert rows(RUN) == [("completed", None, None)]
    assert rows(WARNINGS) == []


def test_a_shop_that_removed_the_app_is_not_read(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        gone = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
        session.get_one(Shop, shop.shop_id).uninstalled_at = gone
    with pytest.raises(PermanentError, match="removed from this shop at Shopify on 2026-11-20"):
        sync()
    assert fake.requests == []
    [(state, error, _)] = rows(RUN)
    assert state == "failed"
    assert "Install it again" in str(error)


def test_every_sync_asks_anew_what_the_app_may_read(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.scopes.append("write_customers")
    sync(SyncKind.FULL)
    [(scopes,)] = rows("SELECT access_scopes FROM crm.shops")
    assert "write_customers" in str(scopes)


def test_a_misread_search_fails_the_sync_and_moves_no_cursor(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """An unknown search key matches everything and only adds a warning."""

    def warn(request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperationRunQuery" not in request.content:
            return None
        told = [{"field": "updated_ad", "code": "invalid_field", "message": "Invalid search field"}]
        return graphql(
            {"bulkOperationRunQuery": {"bulkOperation": {"id": "x"}, "userErrors": []}},
            extensions={"search": [{"path": ["customers"], "warnings": told}]},
        )

    fake.before.append(warn)
    with pytest.raises(PermanentError, match="misread a search"):
        sync()
    assert rows("SELECT 1 FROM raw_shopify.sync_cursors") == []
