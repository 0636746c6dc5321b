"""What a full sync did not name, and orders that are read again by their creation."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models.enums import SyncKind
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import FakeShopify, child, customer_node, money, order_node

pytestmark = pytest.mark.requirement("SHOP-02")
ASKED = """
    SELECT object_type, object_id, reason FROM raw_shopify.refresh_requests ORDER BY 1, 2"""


@pytest.fixture(autouse=True)
def _synced(sync: Sync, fake: FakeShopify) -> None:
    fake.customers = [customer_node(number) for number in range(1, 6)]
    fake.orders = [
        node
        for number in range(11, 16)
        for node in (order_node(number, number - 10), child(number, number * 10))
    ]
    sync()


def test_what_a_full_sync_does_not_name_is_asked_for_by_id(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    del fake.customers[1]
    del fake.orders[-2:]
    sync()
    reason = "absent from a full sync"
    assert rows(ASKED) == [("Customer", 2, reason), ("Order", 15, reason)]
    assert rows("SELECT count(*) FROM raw_shopify.customers WHERE deleted_at IS NULL") == [(5,)]
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE message LIKE '%did not name%'")
    assert len(said) == 2


def test_what_it_names_is_not_asked_for(sync: Sync, rows: Rows) -> None:
    """The control."""
    sync()
    assert rows(ASKED) == []


def test_an_incremental_sync_says_nothing_of_what_it_does_not_name(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.customers, fake.orders = [], []
    sync(SyncKind.INCREMENTAL)
    assert rows(ASKED) == []


def test_what_changed_since_the_export_began_is_not_missed_in_it(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """A webhook may have brought it after Shopify had listed everything."""
    del fake.customers[1]
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "UPDATE raw_shopify.customers SET updated_at = '2026-11-20 11:59:30+00'"
                " WHERE customer_id = 2"
            )
        )
    sync()
    assert rows(ASKED) == []


def test_who_is_known_to_be_deleted_is_not_asked_for(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    del fake.customers[1]
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "UPDATE raw_shopify.customers SET deleted_at = '2026-11-20 11:00:00+00'"
                " WHERE customer_id = 2"
            )
        )
    sync()
    assert rows(ASKED) == []


def test_without_the_scope_for_all_orders_old_orders_are_not_taken_for_deleted(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.scopes.remove("read_all_orders")
    fake.orders = fake.orders[:2]
    sync()
    assert rows(ASKED) == []


@pytest.mark.parametrize(("absent", "is_asked"), [(20, True), (21, False)])
def test_many_absent_at_once_are_a_broken_read(
    sync: Sync, fake: FakeShopify, rows: Rows, *, absent: int, is_asked: bool
) -> None:
    fake.customers = [customer_node(number) for number in range(1, 101)]
    sync()
    del fake.customers[:absent]
    sync()
    asked = rows(
        "SELECT count(*) FROM raw_shopify.refresh_requests WHERE reason = 'absent from a full sync'"
    )
    assert asked == [(absent if is_asked else 0,)]
    doubts = rows("SELECT count(*) FROM raw_shopify.sync_log WHERE message LIKE '%a mistake%'")
    assert doubts == [(0 if is_asked else 1,)]


def test_orders_of_the_last_month_are_read_again_every_night(
    sync: Sync, fake: FakeShopify, rows: Rows, clock: MovableClock
) -> None:
    """A refund may leave the order's `updated_at` as it was: by changes alone it never came."""
    fake.is_searching = True
    quiet = {"createdAt": "2026-11-01T10:00:00Z", "updatedAt": "2026-11-02T10:00:00Z"}
    fake.orders = [order_node(16, 1, **quiet)]
    sync()
    fake.orders = [order_node(16, 1, **quiet, totalRefundedSet=money("10.0"))]
    refunded = "SELECT refunded_total::int FROM raw_shopify.orders WHERE order_id = 16"
    assert rows(refunded) == [(0,)]
    with_it = "SELECT count(*) FROM raw_shopify.bulk_operations WHERE filter LIKE 'created_at%'"
    sync(SyncKind.INCREMENTAL)
    assert rows(refunded) == [(10,)]
    assert rows(with_it) == [(1,)]
    [query] = [query for query in fake.queries if "created_at:" in query]
    assert "sortKey: CREATED_AT" in query
    assert "created_at:>='2026-10-21T" in query
    clock.advance(timedelta(hours=1))
    sync(SyncKind.INCREMENTAL)
    assert rows(with_it) == [(1,)], "not again within the hour"
    clock.advance(timedelta(hours=23))
    sync(SyncKind.INCREMENTAL)
    assert rows(with_it) == [(2,)]
