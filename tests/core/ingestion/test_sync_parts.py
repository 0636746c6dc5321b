"""A Shopify that gives up on large exports: parts of files, halves of windows, and an end."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from core.errors import PermanentError
from core.ingestion import exports
from core.models.enums import SyncKind
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import (
    THEN,
    FakeShopify,
    bulk_line,
    child,
    customer_node,
    graphql,
    order_node,
    product_node,
)

pytestmark = pytest.mark.requirement("SHOP-02")
STATES = """
    SELECT state, count(*) FROM raw_shopify.bulk_operations
    WHERE object_type = :type GROUP BY 1 ORDER BY 1"""
CURSOR = "SELECT updated_at, object_id FROM raw_shopify.sync_cursors WHERE object_type = :type"


@dataclass
class Limited:
    """Gives up on every export of `connection` that holds more than `limit` objects.

    What it had got done is there as a part, unless `has_part` says otherwise.
    """

    fake: FakeShopify
    connection: str
    limit: int
    code: str = "INTERNAL_SERVER_ERROR"
    has_part: bool = True
    cuts_last_line: bool = False
    given_up: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.query == b"part":
            return httpx.Response(200, content=self._part(request.url.path.rpartition("/")[2]))
        if b"bulkOperation(id" not in request.content:
            return None
        gid = json.loads(request.content)["variables"]["id"]
        state = {k: v for k, v in self.fake.operations[gid].items() if k != "content"}
        number = gid.rpartition("/")[2]
        if not self._is_too_large(int(number)):
            return None
        self.given_up.append(self.fake.queries[int(number) - 1])
        part = f"https://storage.example/bulk/{number}?part" if self.has_part else None
        failed = {"status": "FAILED", "errorCode": self.code, "url": None, "fileSize": None}
        return graphql({"bulkOperation": state | failed | {"partialDataUrl": part}})

    def _lines(self, number: int) -> tuple[bool, list[Any]]:
        query = self.fake.queries[number - 1]
        return f"{self.connection}(" in query, self.fake.lines_of(query)

    def _is_too_large(self, number: int) -> bool:
        is_ours, lines = self._lines(number)
        return is_ours and sum("__parentId" not in line for line in lines) > self.limit

    def _part(self, number: str) -> bytes:
        _, lines = self._lines(int(number))
        part = b"".join(bulk_line(line) for line in lines[: self.limit])
        return part + bulk_line(lines[self.limit])[:50] if self.cuts_last_line else part


@pytest.fixture(autouse=True)
def _no_webhook_will_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of waiting pass in no time here, and each half second of them looked for one."""
    monkeypatch.setattr(exports, "GLANCE", exports.LONGEST_POLL)


@pytest.fixture
def limited(fake: FakeShopify) -> Callable[..., Limited]:
    def limit(connection: str, limit: int, **options: Any) -> Limited:
        limited = Limited(fake, connection, limit, **options)
        fake.before.append(limited)
        return limited

    fake.is_searching = True
    return limit


def at(minutes: int) -> str:
    moment = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("limit", "spread", "cuts_last_line"),
    [(1, 0, True), (4, 0, False), (7, 0, True), (1, 90, False), (4, 90, True)],
)
def test_of_customers_each_part_is_loaded_and_the_rest_asked_for(
    sync: Sync,
    fake: FakeShopify,
    rows: Rows,
    limited: Callable[..., Limited],
    *,
    limit: int,
    spread: int,
    cuts_last_line: bool,
) -> None:
    """At one time or at many: more rows of one `updated_at` than a part holds sent an ingester
    round and round."""
    fake.customers = [customer_node(n, updatedAt=at(n * spread)) for n in range(1, 11)]
    limited("customers", limit, cuts_last_line=cuts_last_line)
    report = sync()
    assert (report.customers, report.rejected) == (10, 0)
    assert rows("SELECT count(*) FROM raw_shopify.customers") == [(10,)]
    assert rows("SELECT count(*) FROM raw_shopify.rejected_lines") == [(0,)]
    parts = -(-10 // limit) - 1
    assert rows(STATES, type="Customer") == [("loaded", 1), ("partial", parts)]
    assert len(fake.queries) == 4 + parts, "each object was exported once"
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE level = 'warning'")
    assert len(said) == parts
    assert "gave up on the export of customers" in str(said[0])


def test_products_come_in_parts_too(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    fake.products = [product_node(number) for number in range(1, 6)]
    limited("products", 2, code="TIMEOUT")
    assert sync().products == 5
    assert rows("SELECT count(*) FROM raw_shopify.products") == [(5,)]


def test_a_bad_line_within_a_part_is_put_aside_once(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    fake.customers = [
        customer_node(1, updatedAt=at(1)),
        customer_node(2, updatedAt=at(2), consent="MAYBE"),
        customer_node(3, updatedAt=at(3)),
        customer_node(4, updatedAt=at(4)),
    ]
    limited("customers", 3)
    assert sync().rejected == 1
    assert rows("SELECT customer_id FROM raw_shopify.customers ORDER BY 1") == [(1,), (3,), (4,)]
    assert rows("SELECT count(*) FROM raw_shopify.rejected_lines") == [(1,)]


@pytest.mark.parametrize(
    ("limit", "spread", "code"),
    [
        (1, 0, "TIMEOUT"),
        (6, 0, "INTERNAL_SERVER_ERROR"),
        (2, 1, "INTERNAL_SERVER_ERROR"),
        (1, 3000, "TIMEOUT"),
        (6, 3000, "TIMEOUT"),
    ],
)
def test_orders_are_asked_for_in_halves_until_all_lines_are_here(
    sync: Sync,
    fake: FakeShopify,
    rows: Rows,
    limited: Callable[..., Limited],
    *,
    limit: int,
    spread: int,
    code: str,
) -> None:
    """A part of their file may lack lines of the orders in it, so it is never loaded."""
    fake.orders = [
        node
        for number in range(101, 108)
        for node in (
            order_node(number, 1, updatedAt=at((number - 100) * spread)),
            child(number, number * 10),
            child(number, number * 10 + 1),
        )
    ]
    limits = limited("orders", limit, code=code)
    report = sync()
    assert (report.orders, report.order_lines, report.rejected) == (7, 14, 0)
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(14,)]
    assert limits.given_up
    assert not [request for request in fake.requests if request.url.query == b"part"]
    assert rows("SELECT count(*) FROM raw_shopify.bulk_operations WHERE state = 'partial'") == [
        (0,)
    ]


def test_after_parts_and_halves_the_cursor_says_when_the_first_export_began(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    """What changed between the first export and the last may be missing from both."""
    fake.customers = [customer_node(number, updatedAt=at(number)) for number in range(1, 6)]
    fake.orders = [order_node(number, updatedAt=at(number)) for number in range(1, 6)]
    limited("customers", 2)
    limited("orders", 3, code="TIMEOUT")
    sync()
    assert rows(CURSOR, type="Customer") == [(datetime(2026, 11, 20, 11, 51, tzinfo=UTC), 0)]
    loaded = rows(
        "SELECT operation_id FROM raw_shopify.bulk_operations"
        " WHERE object_type = 'Order' AND state = 'loaded'"
    )
    assert len(loaded) > 1
    first = min(fake.operations[str(operation)]["createdAt"] for (operation,) in loaded)
    assert rows(CURSOR, type="Order") == [(datetime.fromisoformat(first), 0)]


@pytest.mark.parametrize(
    ("connection", "object_type", "options"),
    [
        ("customers", "Customer", {}),
        ("customers", "Customer", {"has_part": False}),
        ("orders", "Order", {}),
    ],
)
def test_an_export_that_always_fails_ends_the_sync_in_words(
    sync: Sync,
    fake: FakeShopify,
    rows: Rows,
    limited: Callable[..., Limited],
    *,
    connection: str,
    object_type: str,
    options: dict[str, Any],
) -> None:
    """An ingester looped for ever over windows that were made smaller and smaller."""
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1)]
    limits = limited(connection, 0, **options)
    with pytest.raises(PermanentError, match=f"gives up on every export of {connection}"):
        sync()
    assert len(set(limits.given_up)) <= 100
    [(state, error)] = rows("SELECT state, error FROM raw_shopify.sync_runs")
    assert state == "failed"
    assert "ask Shopify's support" in str(error)
    [(time, number)] = rows(CURSOR, type=object_type)
    bad = datetime.fromisoformat(THEN)
    assert bad - timedelta(days=1) < time <= bad, "what came a day before the bad one is here"
    assert number == 0
    others = "SELECT object_type FROM raw_shopify.sync_cursors WHERE object_type <> :type"
    assert len(rows(others, type=object_type)) == 3, "one type stops no other"


def test_a_half_that_fails_for_good_holds_the_cursor_also_for_what_is_applied_later(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    """What was staged and waited for the customers was applied after the other half had failed,
    with nothing left to come: the cursor passed what had never been read."""
    bad = order_node(12, 1, updatedAt=at(60 * 24 * 10))
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1, updatedAt=at(0)), bad]
    limited("orders", 1, code="TIMEOUT")
    left = [200]

    def customers_last(request: httpx.Request) -> httpx.Response | None:
        gid = "gid://shopify/BulkOperation/1"
        if f'{gid}"'.encode() not in request.content or not left[0]:
            return None
        left[0] -= 1
        state = {k: v for k, v in fake.operations[gid].items() if k != "content"}
        return graphql({"bulkOperation": state | {"status": "RUNNING", "url": None}})

    def never_the_bad_one(request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperation(id" not in request.content:
            return None
        gid = json.loads(request.content)["variables"]["id"]
        query = fake.queries[int(gid.rpartition("/")[2]) - 1]
        if "orders(" not in query or bad not in fake.lines_of(query):
            return None
        state = {k: v for k, v in fake.operations[gid].items() if k != "content"}
        return graphql({"bulkOperation": state | {"status": "FAILED", "errorCode": "TIMEOUT"}})

    fake.before[:0] = [customers_last, never_the_bad_one]
    with pytest.raises(PermanentError, match="gives up on every export of orders"):
        sync()
    assert rows("SELECT order_id FROM raw_shopify.orders") == [(11,)]
    [(time, _)] = rows(CURSOR, type="Order")
    assert str(time) < str(datetime.fromisoformat(at(60 * 24 * 10)))


def test_products_that_shopify_never_exports_stand_in_nobodys_way(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    fake.customers, fake.products = [customer_node(1)], [product_node(77)]
    limited("products", 0, has_part=False, code="TIMEOUT")
    sync()
    [(state, warning)] = rows("SELECT state, warning FROM raw_shopify.sync_runs")
    assert state == "completed"
    assert "products could not be read" in str(warning)
    assert rows("SELECT first_sync_completed_at IS NOT NULL FROM crm.shops") == [(True,)]


def test_a_single_hiccup_is_asked_again_and_not_split(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    fake.orders = [order_node(11, 1)]
    limits = limited("orders", 0)
    limits_left = [1]

    def heal(request: httpx.Request) -> None:
        if b"bulkOperationRunQuery" in request.content and limits.given_up and limits_left:
            limits_left.pop()
            limits.limit = 10

    fake.before.insert(0, heal)
    assert sync().orders == 1
    assert rows(STATES, type="Order") == [("failed", 1), ("loaded", 1)]
    assert fake.queries[-1] == fake.queries[1]


def test_a_part_that_turns_up_late_is_waited_for(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    """Shopify shows what a failed export had got done some time after it failed."""
    fake.customers = [customer_node(number, updatedAt=at(number)) for number in range(1, 4)]
    limits = limited("customers", 2, has_part=False)

    def later(_: httpx.Request) -> None:
        limits.has_part = len(limits.given_up) >= 3

    fake.before.insert(0, later)
    assert sync().customers == 3
    assert rows(STATES, type="Customer") == [("loaded", 1), ("partial", 1)]


def test_a_sync_killed_between_parts_goes_on_after_the_last_one(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    fake.customers = [customer_node(number, updatedAt=at(0)) for number in range(1, 7)]
    limits = limited("customers", 2)

    def kill(request: httpx.Request) -> None:
        if b"bulkOperationRunQuery" in request.content and b"id:>2" in request.content:
            raise KeyboardInterrupt

    fake.before.insert(0, kill)
    with pytest.raises(KeyboardInterrupt):
        sync()
    assert rows(CURSOR, type="Customer") == [(datetime(2026, 11, 1, tzinfo=UTC), 2)]
    fake.before.remove(kill)
    asked = len(fake.queries)
    sync(SyncKind.FULL)
    assert rows("SELECT count(*) FROM raw_shopify.customers") == [(6,)]
    [first, *_] = [query for query in fake.queries[asked:] if "customers(" in query]
    assert "id:>2" in first
    assert len(limits.given_up) == 2, "what was here was not exported again"


def test_a_first_sync_that_saw_few_orders_does_not_count_as_a_checkpoint(
    sync: Sync, fake: FakeShopify, rows: Rows, limited: Callable[..., Limited]
) -> None:
    """With the scope added the old orders are wanted too."""
    fake.orders = [order_node(11, 1, updatedAt=at(0))]
    fake.customers = [customer_node(1)]
    limits = limited("customers", 0)
    fake.scopes = ["read_orders", "read_customers", "read_products"]
    with pytest.raises(PermanentError):
        sync()
    assert len(rows(CURSOR, type="Order")) == 1
    fake.before.remove(limits)
    fake.scopes.append("read_all_orders")
    asked = len(fake.queries)
    sync()
    [query] = [query for query in fake.queries[asked:] if "orders(" in query]
    assert 'query: ""' in query
