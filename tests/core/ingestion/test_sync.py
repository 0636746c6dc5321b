import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.models import Shop
from core.models.enums import SyncKind
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import FakeShopify, bulk_line, child, customer_node, money, order_node

FIRST_SYNC = "SELECT first_sync_started_at, first_sync_completed_at FROM crm.shops"
STATISTICS = """
    SELECT customer_id, order_count, total_spent FROM raw_shopify.customer_statistics
    ORDER BY customer_id"""


@pytest.mark.requirement("SHOP-02", "RFM-04")
def test_a_full_sync_brings_customers_orders_lines_and_statistics(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.customers = [customer_node(1), customer_node(2, consent="PENDING", tags=['a "b"', "c\\d"])]
    fake.orders = [
        order_node(11, 1, total="10.5"),
        child(11, 111),
        order_node(12, 1, total="4.5"),
        child(12, 121),
        child(12, 122, title="Tab\there\nand \\ there"),
        order_node(13, None),
    ]
    report = sync()
    assert (report.customers, report.orders, report.order_lines, report.rejected) == (2, 3, 3, 0)
    assert rows(STATISTICS) == [(1, 2, Decimal("15.0000"))]
    assert rows("SELECT consent_state, tags FROM raw_shopify.customers WHERE customer_id = 2") == [
        ("PENDING", ['a "b"', "c\\d"])
    ]
    assert rows("SELECT order_id, title FROM raw_shopify.order_lines WHERE line_id = 122") == [
        (12, "Tab\there\nand \\ there")
    ]
    assert rows(
        "SELECT state, run_id, customers_loaded, orders_loaded, order_lines_loaded, lines_rejected,"
        " error, warning FROM raw_shopify.sync_runs"
    ) == [("completed", "dagster-run", 2, 3, 3, 0, None, None)]


@pytest.mark.requirement("SHOP-02")
def test_children_may_stand_anywhere_in_the_file(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    fake.orders = [
        child(12, 121),
        order_node(11, None),
        child(12, 122),
        child(11, 111),
        order_node(12, None),
    ]
    sync()
    assert rows("SELECT order_id, line_id FROM raw_shopify.order_lines ORDER BY line_id") == [
        *((11, 111), (12, 121), (12, 122))
    ]


def test_a_line_is_known_by_its_id_however_its_json_is_written(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    line = child(11, 111)
    fake.orders = [
        order_node(11, None),
        bulk_line({"sku": "first", **line}).decode().strip().replace('"id":', '"\\u0069d" : '),
    ]
    assert sync().rejected == 0
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(1,)]


@pytest.mark.requirement("SHOP-02")
def test_lines_that_cannot_be_read_are_put_aside_and_the_rest_goes_on(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    broken_child = child(11, 112)
    del broken_child["__parentId"]
    address = f"{''.join(map(chr, range(0x4E00, 0x5E00)))}@example.com"
    too_long = {"emailAddress": address, "marketingState": "SUBSCRIBED"}
    fake.customers = [
        customer_node(1),
        '{"id": "gid:\\/\\/shopify\\/Customer\\/2"',
        "",
        customer_node(3, consent="MAYBE"),
        customer_node(4, updatedAt="yesterday"),
        customer_node(5) | {"id": "gid://shopify/Order/5"},
        "[" * 5000,
        customer_node(6, firstName="a\x00b"),
        # Each of these failed the whole load in the database, and with it every later sync: a NUL
        # in the reason we keep, and an address that no index holds.
        customer_node(7) | {"id": "gid://shopify/Cust\x00mer/7"},
        customer_node(8, defaultEmailAddress=too_long),
    ]
    fake.orders = [
        order_node(11, 1),
        child(11, 111),
        broken_child,
        child(99, 991),
        order_node(12, 1, total="ten"),
        order_node(13, 1, total="1e5"),
        order_node(14, 1, total="12345678901234.0"),
        child(11, 113, quantity=2**40),
        order_node(15, 1, total="7.0"),
    ]
    report = sync()
    assert (report.customers, report.orders, report.order_lines) == (2, 2, 1)
    assert report.rejected == 14
    assert rows("SELECT first_name FROM raw_shopify.customers WHERE customer_id = 6") == [("ab",)]
    assert rows(STATISTICS) == [(1, 2, Decimal("17.0000"))]
    rejected = rows(
        "SELECT object_type, line_number, error FROM raw_shopify.rejected_lines"
        " ORDER BY object_type, line_number"
    )
    assert [row[:2] for row in rejected] == [
        *[("Customer", number) for number in (2, 3, 4, 5, 6, 7, 9, 10)],
        *[("Order", number) for number in (3, 4, 5, 6, 7, 8)],
    ]
    assert "its order is not in the file" in [row[2] for row in rejected]
    assert rows("SELECT lines_rejected FROM raw_shopify.sync_runs") == [(14,)]


@pytest.mark.requirement("SHOP-07")
def test_amounts_are_stored_to_the_last_digit(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    fake.orders = [
        order_node(number, 1, total=total)
        for number, total in ((1, "0.1"), (2, "0.2"), (3, "1234567890123.7891"))
    ]
    sync()
    assert rows("SELECT total_spent FROM raw_shopify.customer_statistics") == [
        (Decimal("1234567890124.0891"),)
    ]


@pytest.mark.requirement("SHOP-07")
def test_the_largest_amounts_add_up(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    """Two orders of sixteen digits overflowed their customer's sum, and rounding up the fourth
    decimal of one overflowed the order: either way no sync of the shop ever ended well."""
    largest = "9999999999999.99999"
    fake.orders = [order_node(number, 1, total=largest) for number in range(1, 101)]
    assert sync().orders == 100
    assert rows("SELECT total_spent FROM raw_shopify.customer_statistics") == [(Decimal(10) ** 15,)]


def test_a_time_with_any_offset_is_stored(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    """PostgreSQL reads offsets below 16 hours only: one such time failed the whole load."""
    fake.orders = [order_node(1, None, processedAt="2026-11-20T06:00:00+20:00")]
    sync()
    assert rows("SELECT processed_at FROM raw_shopify.orders") == [
        (datetime(2026, 11, 19, 10, tzinfo=UTC),)
    ]


def test_a_line_that_could_not_be_read_comes_with_the_next_sync(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """Its order is stored as it is and was passed over as unchanged, so the line stayed away for
    ever, whatever was repaired on either side."""
    fake.orders = [order_node(11, 1), child(11, 111), child(11, 112, quantity="two")]
    assert sync().rejected == 1
    assert rows("SELECT line_id FROM raw_shopify.order_lines") == [(111,)]
    fake.orders[2] = child(11, 112, quantity=2)
    assert sync().rejected == 0
    assert rows("SELECT line_id FROM raw_shopify.order_lines ORDER BY 1") == [(111,), (112,)]


def test_after_a_full_sync_the_planner_knows_the_tables(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """Planned for tables that looked empty, the first sweep of enrolments took 60 times as long.

    `reltuples` is -1 until a table has been analysed; TRUNCATE sets it back.
    """
    fake.customers = [customer_node(1), customer_node(2)]
    fake.orders = [order_node(11, 1), child(11, 111), child(11, 112), child(11, 113)]
    known = (
        "SELECT relname, reltuples FROM pg_class WHERE relnamespace = 'raw_shopify'::regnamespace"
        " AND relname IN ('customers', 'orders', 'order_lines', 'customer_statistics') ORDER BY 1"
    )
    assert {size for _, size in rows(known)} == {-1}
    sync()
    assert rows(known) == [
        ("customer_statistics", 1),
        ("customers", 2),
        ("order_lines", 3),
        ("orders", 1),
    ]


@pytest.mark.requirement("SHOP-08")
def test_the_first_sync_fixes_what_is_historical_before_it_reads_anything(
    sync: Sync, fake: FakeShopify, rows: Rows, clock: MovableClock
) -> None:
    seen: list[object] = []

    def watch(request: httpx.Request) -> None:
        if b"bulkOperationRunQuery" in request.content:
            seen.extend(rows(FIRST_SYNC))

    fake.before.append(watch)
    began = clock.now()
    sync()
    assert seen == [(began, None)] * 4
    clock.advance(timedelta(days=1))
    sync()
    assert rows(FIRST_SYNC) == [(began, began)]


def test_an_empty_shop_has_no_file(sync: Sync, rows: Rows) -> None:
    assert sync().customers == 0
    assert len(rows("SELECT 1 FROM raw_shopify.sync_cursors")) == 4
    assert rows("SELECT first_sync_completed_at IS NOT NULL FROM crm.shops") == [(True,)]


@pytest.mark.requirement("SHOP-02")
def test_an_incremental_sync_asks_from_one_day_before_the_last_one(
    sync: Sync, fake: FakeShopify
) -> None:
    sync(SyncKind.INCREMENTAL)
    assert all("updated_at" not in query for query in fake.queries)
    first = fake.operations["gid://shopify/BulkOperation/1"]["createdAt"]
    sync(SyncKind.INCREMENTAL)
    assert first == "2026-11-20T11:51:00Z"
    assert "updated_at:>='2026-11-19T11:51:00Z'" in fake.queries[4]
    sync(SyncKind.FULL)
    assert "updated_at" not in fake.queries[-1]


def test_a_repeated_sync_changes_nothing(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1), child(11, 111)]
    everything = """
        SELECT c.loaded_at, o.loaded_at, t.touch_id, c.xmin::text, o.xmin::text, l.xmin::text,
            s.xmin::text
        FROM raw_shopify.customers c, raw_shopify.orders o, raw_shopify.order_lines l,
            raw_shopify.customer_statistics s, raw_shopify.customer_touches t"""
    sync()
    before = rows(everything)
    sync()
    assert rows(everything) == before


def test_a_newer_order_replaces_its_lines_and_an_older_one_changes_nothing(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    later, latest = "2026-11-19T11:00:00Z", "2026-11-19T12:00:00Z"
    fake.orders = [order_node(11, 1, updatedAt=later), child(11, 111), child(11, 112)]
    sync()
    fake.orders = [
        order_node(11, 1, updatedAt=latest, currentTotalPriceSet=money("3.0")),
        child(11, 112, currentQuantity=0),
        child(11, 113),
    ]
    sync()
    lines = "SELECT line_id, current_quantity FROM raw_shopify.order_lines ORDER BY line_id"
    assert rows(lines) == [(112, 0), (113, 1)]
    assert rows(STATISTICS) == [(1, 1, Decimal("3.0000"))]
    fake.orders = [order_node(11, 2, updatedAt=later), child(11, 111)]
    sync()
    assert rows(lines) == [(112, 0), (113, 1)]
    assert rows(STATISTICS) == [(1, 1, Decimal("3.0000"))]


def test_a_refund_that_left_the_time_as_it_was_is_seen(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.orders = [order_node(11, 1)]
    sync()
    fake.orders = [order_node(11, 1, totalRefundedSet=money("10.0"))]
    sync()
    assert rows(STATISTICS) == [(1, 0, Decimal(0))]


def test_of_several_lines_of_one_object_the_newest_counts(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    new = "2026-11-19T11:00:00Z"
    fake.customers = [
        customer_node(1, updatedAt=new, firstName="New"),
        customer_node(1, firstName="Old"),
    ]
    fake.orders = [
        order_node(11, 1, updatedAt=new, total="2.0"),
        order_node(11, 2, total="5.0"),
        child(11, 111),
        child(11, 111),
    ]
    assert sync().rejected == 0
    assert rows("SELECT first_name FROM raw_shopify.customers") == [("New",)]
    assert rows(STATISTICS) == [(1, 1, Decimal("2.0000"))]


@pytest.mark.requirement("RFM-04")
def test_an_order_that_moves_to_another_customer_changes_both(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.orders = [order_node(11, 1), order_node(12, 1)]
    sync()
    fake.orders = [order_node(11, 2, updatedAt="2026-11-19T12:00:00Z")]
    sync()
    assert rows(STATISTICS) == [(1, 1, Decimal("10.0000")), (2, 1, Decimal("10.0000"))]


def test_a_customer_whom_only_an_order_names_is_asked_for(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.customers = [customer_node(1), customer_node(3, consent=None)]
    fake.orders = [order_node(11, 1), order_node(12, 2), order_node(13, 2), order_node(14, 3)]
    sync()
    assert rows("SELECT object_type, object_id, reason FROM raw_shopify.refresh_requests") == [
        ("Customer", 2, "consent unknown")
    ]


def test_without_all_orders_in_reach_the_run_says_so(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.scopes = ["read_orders"]
    sync()
    assert rows("SELECT access_scopes FROM crm.shops") == [(["read_orders"],)]
    [(warning,)] = rows("SELECT warning FROM raw_shopify.sync_runs")
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE level = 'warning'")
    assert said == [(warning,)]
    assert "read_all_orders" in str(warning)
    assert "60 days" in str(warning)


def test_counts_can_be_watched_while_a_sync_runs(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    seen: list[object] = []

    def watch(request: httpx.Request) -> None:
        if request.url.path == "/bulk/2":
            seen.extend(
                rows("SELECT state, customers_loaded, orders_loaded FROM raw_shopify.sync_runs")
            )

    fake.before.append(watch)
    fake.customers = [customer_node(number) for number in range(1, 51)]
    fake.orders = [order_node(11, 1)]
    sync()
    assert seen == [("running", 50, 0)]


def test_a_file_of_any_size_needs_little_memory(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, shop: Shop
) -> None:
    fake.orders = [
        node
        for order in range(1, 4001)
        for node in (
            order_node(order, order % 500 + 1),
            *(child(order, order * 10 + line, title="x" * 200) for line in range(9)),
        )
    ]
    content = b"".join(bulk_line(line) for line in fake.orders)

    def stream(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/bulk/2":
            return None
        chunks = (content[start : start + 2**16] for start in range(0, len(content), 2**16))
        tracemalloc.start()
        return httpx.Response(200, content=chunks)

    fake.before.append(stream)
    sync()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(content) > 18 * 2**20
    assert peak < 10 * 2**20
    with session_scope(session_factory) as session:
        assert statistics.mismatches(session, shop.shop_id) == 0


def test_the_cursor_is_told_by_shopifys_clock(sync: Sync, rows: Rows) -> None:
    sync()
    assert rows("SELECT object_type, updated_at FROM raw_shopify.sync_cursors ORDER BY 1") == [
        ("AbandonedCheckout", datetime(2026, 11, 20, 11, 53, tzinfo=UTC)),
        ("Customer", datetime(2026, 11, 20, 11, 51, tzinfo=UTC)),
        ("Order", datetime(2026, 11, 20, 11, 52, tzinfo=UTC)),
        ("Product", datetime(2026, 11, 20, 11, 54, tzinfo=UTC)),
    ]
