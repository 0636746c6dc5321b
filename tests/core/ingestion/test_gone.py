"""Objects that Shopify has deleted without a webhook that reached us."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import gone
from core.ingestion.backoff import REFRESH_SECONDS
from core.ingestion.refresh import RefreshReport, refresh_due, request
from core.models import Shop, SyncRun
from core.models.enums import ObjectType, SyncKind, SyncState
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.shopify import FakeShopify, add_shop, customer_body, graphql, order_body

HIDDEN = "SELECT customer_id FROM raw_shopify.customers WHERE deleted_at IS NOT NULL"
BURIED = "SELECT object_type, object_id FROM raw_shopify.deleted_objects ORDER BY 1, 2"
ORDERS = "SELECT order_id FROM raw_shopify.orders ORDER BY 1"
COUNTS = "SELECT customer_id, order_count FROM raw_shopify.customer_statistics ORDER BY 1"
LOG = "SELECT sync_run_id, level, object_type, message FROM raw_shopify.sync_log"
TRIES = len(REFRESH_SECONDS) + 1
Ask = Callable[..., None]
Refresh = Callable[..., RefreshReport]


@pytest.fixture(autouse=True)
def runs(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> list[int]:
    """Two syncs have been; the second is the shop's latest."""
    with session_scope(session_factory) as session:
        made = [
            SyncRun(
                shop_id=shop.shop_id,
                kind=SyncKind.FULL,
                state=SyncState.COMPLETED,
                started_at=clock.now(),
            )
            for _ in range(2)
        ]
        for run in made:
            session.add(run)
            session.flush()
        return [run.sync_run_id for run in made]


@pytest.fixture
def ask(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> Ask:
    """Nothing else is asked for."""

    def put(kind: ObjectType, *ids: int) -> None:
        with session_scope(session_factory) as session:
            session.execute(text("DELETE FROM raw_shopify.refresh_requests"))
            request(session, shop.shop_id, kind, ids, "test", at=clock.now())

    return put


@pytest.fixture
def refresh(
    session_factory: SessionFactory, fake: FakeShopify, settings: Settings, clock: MovableClock
) -> Refresh:
    """Asks Shopify so often, each time when the last wait is over."""
    client = fake.client()

    def run(times: int = 1) -> RefreshReport:
        report = RefreshReport()
        for _ in range(times):
            with session_scope(session_factory) as session:
                session.execute(
                    text(
                        "UPDATE raw_shopify.refresh_requests SET next_attempt_at = now()"
                        " WHERE next_attempt_at IS NOT NULL"
                    )
                )
            report = refresh_due(session_factory, lambda _: client, settings=settings, clock=clock)
        return report

    return run


def may_read(factory: SessionFactory, shop: Shop, *scopes: str) -> None:
    with session_scope(factory) as session:
        session.get_one(Shop, shop.shop_id).access_scopes = list(scopes)


@pytest.mark.requirement("SHOP-06")
def test_a_customer_shopify_has_not_shown_for_an_hour_is_hidden_and_their_order_stays(
    ask: Ask, refresh: Refresh, post: Post, rows: Rows, *, runs: list[int], clock: MovableClock
) -> None:
    post(order_body(11, 5))
    ask(ObjectType.CUSTOMER, 5)
    assert refresh(TRIES - 1).gone == 0
    assert rows(HIDDEN) == [], "it may only be late"
    assert refresh() == RefreshReport(claimed=1, gone=1)
    assert rows("SELECT customer_id, deleted_at FROM raw_shopify.customers") == [(5, clock.now())]
    assert rows(BURIED) == [("Customer", 5)]
    assert rows(COUNTS) == [(5, 1)], "for the shop's revenue"
    assert rows("SELECT 1 FROM raw_shopify.refresh_requests") == []
    words = "Of the customers we held, Shopify no longer has 1, though no webhook told of it."
    assert rows(LOG) == [(runs[-1], "warning", "Customer", f"{words} They are hidden here too.")]
    post(customer_body(5, updated_at="2026-11-30T00:00:00Z"), "customers/update")
    assert rows(HIDDEN) == [(5,)], "a late webhook does not bring it back"


@pytest.mark.requirement("SHOP-06", "RFM-04")
def test_an_order_shopify_has_not_shown_for_an_hour_goes_with_all_that_was_made_of_it(
    ask: Ask, refresh: Refresh, post: Post, rows: Rows, runs: list[int]
) -> None:
    refund = {"id": 91, "processed_at": "2026-11-20T12:30:00Z", "transactions": []}
    post(order_body(11, 5, refunds=[refund]))
    post(order_body(12, 5))
    ask(ObjectType.ORDER, 11)
    assert refresh(TRIES - 1).gone == 0
    assert rows(ORDERS) == [(11,), (12,)]
    assert rows(COUNTS) == [(5, 2)]
    assert refresh() == RefreshReport(claimed=1, gone=1)
    assert rows(ORDERS) == [(12,)]
    assert rows("SELECT order_id FROM raw_shopify.order_lines") == [(12,)]
    assert rows("SELECT 1 FROM raw_shopify.refunds") == []
    assert rows(BURIED) == [("Order", 11)]
    assert rows(COUNTS) == [(5, 1)]
    [(run, level, kind, message)] = rows(LOG)
    assert (run, level, kind) == (runs[-1], "warning", "Order")
    assert "Of the orders we held, Shopify no longer has 1" in str(message)
    post(order_body(11, 5, updated_at="2026-11-30T00:00:00Z"), "orders/updated")
    assert rows(ORDERS) == [(12,)], "a late webhook does not bring it back"


@pytest.mark.parametrize("kind", [ObjectType.CUSTOMER, ObjectType.ORDER])
def test_while_shopify_cannot_be_reached_nothing_is_taken_for_deleted(
    ask: Ask, refresh: Refresh, post: Post, fake: FakeShopify, rows: Rows, *, kind: ObjectType
) -> None:
    post(order_body(11, 5))
    ask(kind, 11 if kind is ObjectType.ORDER else 5)
    fake.before.append(lambda _: httpx.Response(402))
    assert refresh(TRIES * 2) == RefreshReport(claimed=1, postponed=1)
    assert rows(ORDERS) == [(11,)]
    assert rows(HIDDEN) == []
    # The tries of that time do count: it has been asked for long enough, and now is answered.
    fake.before.clear()
    assert refresh().gone == 1


def test_an_answer_that_cannot_be_used_is_no_deletion(
    ask: Ask, refresh: Refresh, post: Post, fake: FakeShopify, rows: Rows
) -> None:
    post(order_body(11, 5))
    ask(ObjectType.CUSTOMER, 5)
    broken = {"id": "gid://shopify/Customer/5"}
    fake.before.append(
        lambda asked: graphql({"nodes": [broken]}) if b"nodes(ids" in asked.content else None
    )
    assert refresh(TRIES) == RefreshReport(claimed=1, given_up=1)
    assert rows(HIDDEN) == []


def test_what_we_do_not_hold_is_given_up_and_not_buried(
    ask: Ask, refresh: Refresh, rows: Rows
) -> None:
    """It may be created yet: an id that was named too early is not a deleted one."""
    ask(ObjectType.ORDER, 11)
    assert refresh(TRIES) == RefreshReport(claimed=1, given_up=1)
    assert rows(BURIED) == []
    assert rows(LOG) == []


def test_what_is_known_to_be_deleted_is_not_asked_for_again(
    ask: Ask, refresh: Refresh, post: Post, rows: Rows
) -> None:
    post(order_body(11, 5))
    post({"id": 11}, "orders/delete")
    post({"id": 5}, "customers/delete")
    for kind, number in ((ObjectType.ORDER, 11), (ObjectType.CUSTOMER, 5)):
        ask(kind, number)
        assert refresh() == RefreshReport(claimed=1, gone=1)
    assert rows(LOG) == [], "its webhook had told of it"


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize(
    ("days", "scopes", "is_deleted"),
    [
        (57, (), True),
        (59, (), False),
        (59, ("read_all_orders",), True),
    ],
)
def test_an_old_order_that_the_app_may_not_see_is_kept(
    ask: Ask,
    refresh: Refresh,
    post: Post,
    rows: Rows,
    *,
    session_factory: SessionFactory,
    shop: Shop,
    clock: MovableClock,
    days: int,
    scopes: tuple[str, ...],
    is_deleted: bool,
) -> None:
    """Without read_all_orders Shopify shows orders of 60 days: hidden is not deleted."""
    then = (clock.now() - timedelta(days=days)).isoformat()
    post(order_body(11, 5, created_at=then, processed_at=then))
    may_read(session_factory, shop, *scopes)
    ask(ObjectType.ORDER, 11)
    report = refresh(TRIES)
    assert (report.gone, report.given_up) == ((1, 0) if is_deleted else (0, 1))
    assert rows(ORDERS) == ([] if is_deleted else [(11,)])


def test_a_customer_is_no_order_and_needs_no_scope_for_old_ones(
    ask: Ask,
    refresh: Refresh,
    post: Post,
    rows: Rows,
    *,
    session_factory: SessionFactory,
    shop: Shop,
) -> None:
    post(customer_body(5, created_at="2020-01-01T00:00:00Z"), "customers/create")
    may_read(session_factory, shop)
    ask(ObjectType.CUSTOMER, 5)
    assert refresh(TRIES).gone == 1
    assert rows(HIDDEN) == [(5,)]


def test_while_a_file_is_applied_a_deletion_waits_for_the_next_round(
    *,
    ask: Ask,
    refresh: Refresh,
    post: Post,
    rows: Rows,
    session_factory: SessionFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gone, "LOCK_TIMEOUT", "10ms")
    post(order_body(11, 5))
    ask(ObjectType.ORDER, 11)
    refresh(TRIES - 1)
    with session_scope(session_factory) as session:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('ecomcrm bulk apply'), 1)"))
        assert refresh() == RefreshReport(claimed=1, postponed=1)
        assert rows(ORDERS) == [(11,)]
    assert refresh() == RefreshReport(claimed=1, gone=1)
    assert rows(ORDERS) == []


def test_a_shop_that_was_never_synced_deletes_without_a_log(
    *,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    rows: Rows,
) -> None:
    with session_scope(session_factory) as session:
        other: Any = add_shop(session, settings, domain="other.myshopify.com")
        session.execute(
            text(
                "INSERT INTO raw_shopify.customers (shop_id, customer_id, created_at, updated_at)"
                " VALUES (:shop_id, 5, :at, :at)"
            ),
            {"shop_id": other.shop_id, "at": datetime(2026, 1, 1, tzinfo=UTC)},
        )
        number = other.shop_id
    found = gone.find_gone(
        session_factory, number, ObjectType.CUSTOMER, hidden=[5], given_up=[5], clock=clock
    )
    assert found == {5}
    assert rows(HIDDEN) == [(5,)]
    assert rows(LOG) == []
