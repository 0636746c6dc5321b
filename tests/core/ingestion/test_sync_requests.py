"""Syncs that were asked for, runs that died or failed outside, and how a shop's data stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.ingestion import runs
from core.ingestion.requests import (
    finish_for_run,
    mark_launched,
    open_requests,
    request_sync,
)
from core.ingestion.status import Face, SyncStatus, sync_status
from core.models import InboxMessage, Shop
from core.models.enums import InboxState, ObjectType, SyncKind, SyncRequestState
from core.settings import Settings
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import FakeShopify, add_shop, customer_node, order_node

RUNS = "SELECT state, error FROM raw_shopify.sync_runs ORDER BY sync_run_id"
ERRORS = "SELECT sync_run_id, message FROM raw_shopify.sync_log WHERE level = 'error' ORDER BY 1"


# ---------------------------------------------------------------- requests


def test_a_request_waits_is_launched_and_ends_with_its_run(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        number = request_sync(session, shop.shop_id, SyncKind.FULL, requested_by="cli")
    with session_scope(session_factory) as session:
        [request] = open_requests(session)
        assert (request.sync_request_id, request.state) == (number, SyncRequestState.REQUESTED)
        mark_launched(session, request, "run-1")
    with session_scope(session_factory) as session:
        [request] = open_requests(session)
        assert (request.state, request.run_id) == (SyncRequestState.LAUNCHED, "run-1")
        finish_for_run(session, "run-2", error=None)
    with session_scope(session_factory) as session:
        assert len(open_requests(session)) == 1, "another run's end is not this one's"
        finish_for_run(session, "run-1", error=None)
        finish_for_run(session, "run-1", error="late")
    with session_scope(session_factory) as session:
        assert open_requests(session) == []
    assert rows("SELECT state, error, finished_at IS NOT NULL FROM raw_shopify.sync_requests") == [
        ("completed", None, True)
    ]


def test_who_asks_twice_for_what_has_not_begun_gets_the_same_request(
    session_factory: SessionFactory, shop: Shop
) -> None:
    with session_scope(session_factory) as session:
        first = request_sync(session, shop.shop_id, SyncKind.FULL, requested_by="cli")
        assert request_sync(session, shop.shop_id, SyncKind.FULL, requested_by="user:1") == first
        other = request_sync(session, shop.shop_id, SyncKind.RECONCILE, requested_by="cli")
        mark_launched(session, open_requests(session)[0], "run-1")
        again = request_sync(session, shop.shop_id, SyncKind.FULL, requested_by="cli")
        assert len({first, other, again}) == 3


def test_a_request_whose_run_failed_says_why(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        request_sync(session, shop.shop_id, SyncKind.FULL, requested_by="cli")
        mark_launched(session, open_requests(session)[0], "run-1")
        finish_for_run(session, "run-1", error="No answer.")
    assert rows("SELECT state, error FROM raw_shopify.sync_requests") == [("failed", "No answer.")]


# ---------------------------------------------------------------- dead and failed runs


def begin(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> int:
    return runs.start(
        session_factory, shop.shop_id, kind=SyncKind.FULL, run_id="run-1", clock=clock
    )


def test_only_runs_whose_process_has_died_are_swept(
    session_factory: SessionFactory, settings: Settings, shop: Shop, clock: MovableClock, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        other = add_shop(session, settings, domain="other.myshopify.com")
    begin(session_factory, shop, clock)
    with runs.only_one(session_factory, other.shop_id):
        begin(session_factory, other, clock)
        assert runs.sweep_dead(session_factory, clock=clock) == 1
        assert rows(RUNS) == [("failed", runs.DIED), ("running", None)]
    assert rows(ERRORS) == [(1, runs.DIED)]
    assert runs.sweep_dead(session_factory, clock=clock) == 1
    assert runs.sweep_dead(session_factory, clock=clock) == 0


def test_sweeping_stands_in_no_syncs_way(
    session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    """Taking the lock, if only to look, would turn away a sync that starts at this moment."""
    begin(session_factory, shop, clock)
    with session_scope(session_factory) as session:
        assert not runs.is_alive(session, shop.shop_id)
        with runs.only_one(session_factory, shop.shop_id):
            assert runs.is_alive(session, shop.shop_id)
            assert not runs.is_alive(session, shop.shop_id + 1)
        assert not runs.is_alive(session, shop.shop_id)


def test_a_dagster_run_that_failed_ends_its_sync_as_failed(
    session_factory: SessionFactory, shop: Shop, clock: MovableClock, rows: Rows
) -> None:
    begin(session_factory, shop, clock)
    for _ in range(2):
        runs.fail_run_of(session_factory, "run-1", words="It was killed.", clock=clock)
    runs.fail_run_of(session_factory, "run-2", words="Another.", clock=clock)
    assert rows(RUNS) == [("failed", "It was killed.")]
    assert rows(ERRORS) == [(1, "It was killed.")]


def test_a_dagster_run_that_failed_before_its_sync_began_is_seen_all_the_same(
    session_factory: SessionFactory, shop: Shop, clock: MovableClock, rows: Rows
) -> None:
    for _ in range(2):
        runs.fail_run_of(
            session_factory,
            "run-1",
            words="No worker.",
            clock=clock,
            shop_id=shop.shop_id,
            kind=SyncKind.FULL,
        )
    assert rows(RUNS) == [("failed", "No worker.")]


def test_a_dagster_run_that_failed_after_its_sync_leaves_the_data_and_a_word(
    session_factory: SessionFactory, sync: Sync, clock: MovableClock, rows: Rows
) -> None:
    sync()
    for _ in range(2):
        runs.fail_run_of(session_factory, "dagster-run", words="No space.", clock=clock)
    assert rows(RUNS) == [("completed", None)]
    [(_, said)] = rows(ERRORS)
    assert said == "The data is in, but the job that read it failed afterwards: No space."


def test_the_reason_of_a_failed_sync_is_not_overwritten_by_its_dagster_run(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, clock: MovableClock, rows: Rows
) -> None:
    fake.before.append(lambda _: (_ for _ in ()).throw(PermanentError("The shop is closed.")))
    with pytest.raises(PermanentError):
        sync()
    runs.fail_run_of(session_factory, "dagster-run", words="Step failed.", clock=clock)
    assert rows(RUNS) == [("failed", "The shop is closed.")]


# ---------------------------------------------------------------- status


def status(factory: SessionFactory, shop: Shop, clock: MovableClock) -> SyncStatus:
    with session_scope(factory) as session:
        return sync_status(session, shop.shop_id, now=clock.now())


@pytest.mark.requirement("SHOP-09")
def test_a_shop_is_idle_with_an_age_and_stale_after_24_hours(
    session_factory: SessionFactory, shop: Shop, sync: Sync, clock: MovableClock
) -> None:
    assert status(session_factory, shop, clock).face is Face.STALE
    sync()
    clock.advance(timedelta(hours=24))
    found = status(session_factory, shop, clock)
    assert (found.face, found.age, found.is_stale) == (Face.IDLE, timedelta(hours=24), False)
    clock.advance(timedelta(seconds=1))
    found = status(session_factory, shop, clock)
    assert (found.face, found.is_stale) == (Face.STALE, True)


@contextmanager
def running(factory: SessionFactory, shop: Shop, clock: MovableClock) -> Iterator[None]:
    with runs.only_one(factory, shop.shop_id):
        begin(factory, shop, clock)
        yield


@pytest.mark.requirement("SHOP-09")
def test_a_running_sync_shows_how_far_it_is(
    session_factory: SessionFactory, shop: Shop, clock: MovableClock, rows: Rows
) -> None:
    with running(session_factory, shop, clock):
        with session_scope(session_factory) as session:
            session.execute(
                text(
                    "UPDATE raw_shopify.sync_runs SET customers_loaded = 1234,"
                    """ objects_expected = '{"Customer": 5000, "Order": 7}'"""
                )
            )
        found = status(session_factory, shop, clock)
    assert found.face is Face.RUNNING
    assert found.counts is not None
    assert found.counts[ObjectType.CUSTOMER] == 1234
    assert found.expected == {ObjectType.CUSTOMER: 5000, ObjectType.ORDER: 7}
    found = status(session_factory, shop, clock)
    assert (found.face, found.error) == (Face.FAILED, runs.DIED), "its process has died"


def test_a_failed_sync_is_shown_until_one_completes(
    session_factory: SessionFactory, shop: Shop, sync: Sync, fake: FakeShopify, clock: MovableClock
) -> None:
    sync()
    clock.advance(timedelta(minutes=1))
    fake.before.append(lambda _: (_ for _ in ()).throw(PermanentError("The shop is closed.")))
    with pytest.raises(PermanentError):
        sync()
    found = status(session_factory, shop, clock)
    assert (found.face, found.error) == (Face.FAILED, "The shop is closed.")
    assert found.age == timedelta(minutes=1)
    fake.before.clear()
    clock.advance(timedelta(minutes=1))
    sync()
    assert status(session_factory, shop, clock).face is Face.IDLE


def test_a_reconciliation_is_no_sync(
    session_factory: SessionFactory, shop: Shop, sync: Sync, clock: MovableClock
) -> None:
    sync()
    clock.advance(timedelta(hours=30))
    with runs.only_one(session_factory, shop.shop_id):
        number = runs.start(
            session_factory, shop.shop_id, kind=SyncKind.RECONCILE, run_id=None, clock=clock
        )
        assert status(session_factory, shop, clock).face is Face.RUNNING
        runs.complete(session_factory, shop.shop_id, number, kind=SyncKind.RECONCILE, clock=clock)
    assert status(session_factory, shop, clock).face is Face.STALE


def test_what_failed_for_good_and_what_cannot_be_seen_is_told(
    session_factory: SessionFactory, shop: Shop, sync: Sync, fake: FakeShopify, clock: MovableClock
) -> None:
    fake.scopes.remove("read_all_orders")
    fake.customers, fake.orders = [customer_node(1)], [order_node(11, 1)]
    sync()
    with session_scope(session_factory) as session:
        for number, again in enumerate((None, None, datetime(2026, 11, 20, tzinfo=UTC))):
            session.add(
                InboxMessage(
                    shop_id=shop.shop_id,
                    webhook_id=f"w{number}",
                    topic="orders/create",
                    body=b"{}",
                    state=InboxState.FAILED,
                    next_attempt_at=again,
                )
            )
    found = status(session_factory, shop, clock)
    assert found.failed_messages == 2, "one is tried again by itself"
    assert "60 days" in str(found.warning)


def test_a_shop_that_removed_the_app_has_failed(
    session_factory: SessionFactory, shop: Shop, sync: Sync, clock: MovableClock
) -> None:
    sync()
    with session_scope(session_factory) as session:
        session.get_one(Shop, shop.shop_id).uninstalled_at = clock.now()
    found = status(session_factory, shop, clock)
    assert found.face is Face.FAILED
    assert "removed from this shop" in str(found.error)
