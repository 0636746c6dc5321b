"""What Shopify holds against what we hold: what differs is asked for, statistics are put right."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.ingestion import runs
from core.ingestion.reconcile import ReconcileReport, run_reconcile
from core.models import Shop
from core.models.enums import ObjectType
from core.settings import Settings
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import FakeShopify, child, customer_node, graphql, order_node

CUSTOMER, ORDER = ObjectType.CUSTOMER, ObjectType.ORDER
LATER = "2026-11-20T11:00:00Z"
ASKED = """
    SELECT object_type, object_id, reason FROM raw_shopify.refresh_requests ORDER BY 1, 2"""
RUN = """
    SELECT kind, state, error, warning FROM raw_shopify.sync_runs
    ORDER BY sync_run_id DESC LIMIT 1"""
DIFFERS, NOT_NAMED = "differs from Shopify", "not named in a reconciliation"


@pytest.fixture
def reconcile(
    session_factory: SessionFactory,
    fake: FakeShopify,
    shop: Shop,
    clock: MovableClock,
    settings: Settings,
) -> Callable[..., ReconcileReport]:
    def run(**options: Any) -> ReconcileReport:
        with fake.client() as client:
            return run_reconcile(
                session_factory,
                client,
                shop_id=shop.shop_id,
                clock=clock,
                run_id="dagster-run",
                settings=settings,
                sleep=lambda _: None,
                **options,
            )

    return run


Reconcile = Callable[..., ReconcileReport]


@pytest.fixture(autouse=True)
def _synced(sync: Sync, fake: FakeShopify) -> None:
    fake.customers = [customer_node(number) for number in range(1, 6)]
    fake.orders = [
        node
        for number in range(11, 16)
        for node in (order_node(number, number - 10), child(number, number * 10))
    ]
    sync()


def test_when_all_is_as_at_shopify_nothing_is_asked_for(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    report = reconcile()
    for object_type in (CUSTOMER, ORDER):
        found = report.types[object_type]
        assert (found.shopify, found.held) == (5, 5)
        assert (found.missing, found.stale, found.absent, found.asked_for) == (0, 0, 0, 0)
    assert rows(ASKED) == []
    assert rows(RUN) == [("reconcile", "completed", None, None)]
    assert rows("SELECT report FROM raw_shopify.sync_runs WHERE kind = 'reconcile'") == [
        (report.as_json(),)
    ]
    assert [query for query in fake.queries[4:] if "sortKey: ID" not in query] == []
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE message LIKE 'All%' ORDER BY 1")
    assert said == [("All 5 customers are as at Shopify.",), ("All 5 orders are as at Shopify.",)]


def test_what_is_missing_older_or_not_named_is_asked_for(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    fake.customers[0] = customer_node(1, updatedAt=LATER)
    del fake.customers[1]
    fake.customers.append(customer_node(6))
    fake.orders[0] = order_node(11, 1, updatedAt=LATER)
    fake.orders.append(order_node(16, 1))
    del fake.orders[2]
    report = reconcile()
    assert rows(ASKED) == [
        ("Customer", 1, DIFFERS),
        ("Customer", 2, NOT_NAMED),
        ("Customer", 6, DIFFERS),
        ("Order", 11, DIFFERS),
        ("Order", 12, NOT_NAMED),
        ("Order", 16, DIFFERS),
    ]
    found = report.types[ORDER]
    assert (found.missing, found.stale, found.absent, found.asked_for) == (1, 1, 1, 3)
    assert (report.types[CUSTOMER].shopify, report.types[CUSTOMER].held) == (5, 5)
    assert len(rows("SELECT 1 FROM raw_shopify.customers")) == 5, "nothing changes on its own word"


@pytest.mark.parametrize(("at_most", "asked", "is_told"), [(2, 2, True), (3, 3, False)])
def test_of_each_type_only_so_many_are_asked_for_and_a_full_sync_is_advised(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows, *, at_most: int, asked: int, is_told: bool
) -> None:
    """Read by id, a whole shop would take days."""
    fake.customers[0] = customer_node(1, updatedAt=LATER)
    fake.customers += [customer_node(6), customer_node(7)]
    fake.orders += [order_node(16, 1)]
    report = reconcile(asked_at_most=at_most)
    found = report.types[CUSTOMER]
    assert (found.missing, found.stale, found.asked_for) == (2, 1, asked)
    assert report.types[ORDER].asked_for == 1
    kinds = [row[0] for row in rows(ASKED)]
    assert (kinds.count("Customer"), kinds.count("Order")) == (asked, 1)
    advice = rows("SELECT object_type FROM raw_shopify.sync_log WHERE message LIKE 'So many%'")
    assert advice == ([("Customer",)] if is_told else [])
    # What was left is found the next time, once the others are here.
    rows("DELETE FROM raw_shopify.refresh_requests RETURNING 1")
    assert reconcile().types[CUSTOMER].asked_for == 3


def test_a_newer_state_of_ours_is_not_asked_for(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    """Shopify's index lags behind the webhook that told us."""
    fake.orders[0] = order_node(11, 1, updatedAt="2026-11-18T10:00:00Z")
    reconcile()
    assert rows(ASKED) == []


def test_what_shopify_told_us_it_deleted_is_not_asked_for(
    session_factory: SessionFactory,
    reconcile: Reconcile,
    fake: FakeShopify,
    shop: Shop,
    rows: Rows,
) -> None:
    fake.orders.append(order_node(16, 1))
    fake.customers[0] = customer_node(1, updatedAt=LATER)
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "INSERT INTO raw_shopify.deleted_objects (shop_id, object_type, object_id,"
                " deleted_at) VALUES (:shop_id, 'Order', 16, '2026-11-20 11:30:00+00')"
            ),
            {"shop_id": shop.shop_id},
        )
        session.execute(
            text("UPDATE raw_shopify.customers SET deleted_at = updated_at WHERE customer_id = 1")
        )
    reconcile()
    assert rows(ASKED) == []


def test_who_was_erased_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    class Erased:
        @staticmethod
        def load(_session: object, _shop_id: int, _key: SecretStr) -> "Erased":
            return Erased()

        def is_erased_customer(self, customer_id: int) -> bool:
            return customer_id == 6

    monkeypatch.setattr("core.ingestion.reconcile.Screen", Erased)
    fake.customers += [customer_node(6), customer_node(7)]
    report = reconcile()
    assert rows(ASKED) == [("Customer", 7, DIFFERS)]
    assert report.types[CUSTOMER].missing == 1


def test_a_list_that_lacks_too_much_is_doubted(
    reconcile: Reconcile, fake: FakeShopify, sync: Sync, rows: Rows
) -> None:
    fake.customers = [customer_node(number) for number in range(1, 101)]
    sync()
    fake.customers = fake.customers[:70]
    reconcile()
    assert rows(ASKED) == []
    [(_, state, _, warning)] = rows(RUN)
    assert state == "completed"
    assert "rather a mistake" in str(warning)


def test_without_the_scope_for_all_orders_older_ones_are_not_missed(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    fake.scopes.remove("read_all_orders")
    fake.orders = fake.orders[:2]
    reconcile()
    assert rows(ASKED) == []


@pytest.mark.requirement("RFM-04")
def test_statistics_that_differ_are_computed_anew(
    session_factory: SessionFactory, reconcile: Reconcile, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        session.execute(
            text("UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id < 3")
        )
    assert reconcile().statistics_corrected == 2
    assert rows("SELECT DISTINCT order_count FROM raw_shopify.customer_statistics") == [(1,)]
    assert reconcile().statistics_corrected == 0


def give_up(fake: FakeShopify, connection: str, times: int) -> None:
    left = [times]

    def respond(request: httpx.Request) -> httpx.Response | None:
        for gid, state in fake.operations.items():
            query = fake.queries[int(gid.rpartition("/")[2]) - 1]
            is_it = f"{connection}(sortKey: ID" in query and f'{gid}"'.encode() in request.content
            if is_it and left[0] > 0:
                left[0] -= 1
                failed = {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR", "url": None}
                part = {"partialDataUrl": "https://storage.example/bulk/1"}
                shown = {k: v for k, v in state.items() if k != "content"}
                return graphql({"bulkOperation": shown | failed | part})
        return None

    fake.before.append(respond)


@pytest.mark.parametrize(("times", "is_compared"), [(2, True), (3, False)])
def test_a_list_shopify_gives_up_on_is_asked_again_and_then_left_out(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows, *, times: int, is_compared: bool
) -> None:
    """Half a list of ids is no list: it would have called the other half deleted."""
    fake.orders.append(order_node(16, 1))
    give_up(fake, "orders", times)
    report = reconcile()
    assert report.types[ORDER].missing == (1 if is_compared else None)
    assert report.types[CUSTOMER].missing == 0
    assert len(rows(ASKED)) == int(is_compared)
    [(_, state, _, warning)] = rows(RUN)
    assert state == "completed"
    assert ("could not be compared" in str(warning)) is not is_compared


def test_a_list_that_is_not_whole_is_not_compared(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    def shorten(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/bulk/6":
            return None
        content: bytes = fake.operations["gid://shopify/BulkOperation/6"]["content"]
        return httpx.Response(200, content=content[: content.index(b"\n") + 1])

    fake.before.append(shorten)
    report = reconcile()
    assert report.types[ORDER].absent is None
    assert rows(ASKED) == []
    tables = "SELECT 1 FROM pg_class WHERE relnamespace = 'raw_shopify_staging'::regnamespace"
    assert rows(f"{tables} AND relkind = 'r'") == []


def test_a_list_that_a_former_run_had_asked_for_long_ago_is_cancelled_and_asked_anew(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows, clock: MovableClock
) -> None:
    def kill(request: httpx.Request) -> None:
        if request.url.path == "/bulk/5":
            raise KeyboardInterrupt

    fake.before.append(kill)
    with pytest.raises(KeyboardInterrupt):
        reconcile()
    fake.before.remove(kill)
    clock.advance(timedelta(hours=2))
    reconcile()
    assert fake.cancelled == ["gid://shopify/BulkOperation/5", "gid://shopify/BulkOperation/6"]
    codes = "SELECT error_code FROM raw_shopify.bulk_operations WHERE state = 'failed'"
    assert rows(codes) == [("OLD",), ("OLD",)]
    assert len(fake.queries) == 8


def test_a_count_that_shopify_did_not_finish_is_no_count(
    reconcile: Reconcile, fake: FakeShopify
) -> None:
    def at_least(request: httpx.Request) -> httpx.Response | None:
        if b"customersCount" not in request.content:
            return None
        many: dict[str, Any] = {"count": 10000, "precision": "AT_LEAST"}
        return graphql({"customersCount": many, "ordersCount": {"count": 5, "precision": "EXACT"}})

    fake.before.append(at_least)
    report = reconcile()
    assert (report.types[CUSTOMER].shopify, report.types[ORDER].shopify) == (None, 5)


def test_a_reconciliation_that_fails_says_so_and_leaves_the_first_sync_alone(
    reconcile: Reconcile, fake: FakeShopify, rows: Rows
) -> None:
    fake.before.append(lambda _: (_ for _ in ()).throw(PermanentError("The shop is closed.")))
    before = rows("SELECT first_sync_started_at, first_sync_completed_at FROM crm.shops")
    with pytest.raises(PermanentError):
        reconcile()
    assert rows(RUN) == [("reconcile", "failed", "The shop is closed.", None)]
    assert rows("SELECT first_sync_started_at, first_sync_completed_at FROM crm.shops") == before


def test_a_sync_and_a_reconciliation_do_not_run_at_once(
    session_factory: SessionFactory, reconcile: Reconcile, shop: Shop
) -> None:
    with (
        runs.only_one(session_factory, shop.shop_id),
        pytest.raises(TransientError, match="Another sync"),
    ):
        reconcile()


def test_a_reconciliation_gives_up_no_export_that_a_sync_left_behind(
    reconcile: Reconcile, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    def kill(request: httpx.Request) -> None:
        if request.url.path == "/bulk/5":
            raise KeyboardInterrupt

    fake.before.append(kill)
    with pytest.raises(KeyboardInterrupt):
        sync()
    fake.before.remove(kill)
    left = "SELECT count(*) FROM raw_shopify.bulk_operations WHERE state = 'submitted'"
    assert rows(left) == [(4,)]
    reconcile()
    assert rows(left) == [(4,)]
    asked = len(fake.queries)
    sync()
    assert len(fake.queries) == asked
