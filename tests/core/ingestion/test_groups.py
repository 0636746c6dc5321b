"""A group of webhooks in one transaction: one answer each, and nobody pays for a neighbour."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from core.clock import MovableClock
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.ingestion import groups, inbox, keys, taking
from core.ingestion.apply import Incoming
from core.ingestion.calls import Group
from core.ingestion.changes import Changes
from core.ingestion.groups import Received, receive_group
from core.models import Shop
from core.models.enums import InboxState
from core.settings import Settings
from tests.core.ingestion.conftest import Rows
from tests.fixtures.shopify import DOMAIN, customer_body, encode, order_body

Take = Callable[..., list[Received]]
APPLIED = Received(200, InboxState.APPLIED)
ALTER = "ALTER TABLE raw_shopify.orders"
STATES = "SELECT webhook_id, state FROM raw_shopify.webhook_inbox ORDER BY 1"
STORE_B = """
    INSERT INTO raw_shopify.webhook_inbox
    SELECT (jsonb_populate_record(inbox, '{"webhook_id": "b", "state": "received"}')).*
    FROM raw_shopify.webhook_inbox AS inbox
"""
WAITED = """
    SELECT FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND clock_timestamp() - state_change > interval '100 ms'
"""
GROWN_CUSTOMERS = """
    INSERT INTO raw_shopify.customers (shop_id, customer_id, created_at, updated_at)
    SELECT shop_id, n, created_at, updated_at
    FROM raw_shopify.customers, generate_series(1001, 7000) AS n WHERE customer_id = 1
"""
GROWN_ORDERS = """
    INSERT INTO raw_shopify.orders (
        shop_id, order_id, name, customer_id, created_at, updated_at, processed_at, is_test,
        currency, current_total, original_total, refunded_total
    )
    SELECT
        shop_id, n, name, n, created_at, updated_at, processed_at, is_test,
        currency, current_total, original_total, refunded_total
    FROM raw_shopify.orders, generate_series(1001, 7000) AS n WHERE order_id = 1
"""
COUNTS = "SELECT customer_id, order_count FROM raw_shopify.customer_statistics ORDER BY 1"


@pytest.fixture
def take(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, shop: Shop
) -> Take:
    """Takes (body, topic) pairs, or orders alone, as one group; their ids are w0, w1, …"""
    with session_scope(session_factory) as session:
        known = keys.load(session, DOMAIN, settings.secret_key)
    assert known is not None
    group = Group(session_factory, known, settings, clock)

    def run(*told: Any, ids: list[str] | None = None) -> list[Received]:
        pairs = [one if isinstance(one, tuple) else (one, "orders/create") for one in told]
        named = ids or [f"w{number}" for number in range(len(pairs))]
        return receive_group(
            group,
            [
                Incoming(known, topic, webhook_id, encode(body))
                for webhook_id, (body, topic) in zip(named, pairs, strict=True)
            ],
        )

    return run


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many webhooks each transaction of a group took."""
    seen: list[int] = []
    take = taking.take_at_once

    def count(group: Any, letters: Any) -> Any:
        seen.append(len(letters))
        return take(group, letters)

    monkeypatch.setattr(groups, "take_at_once", count)
    return seen


@pytest.mark.requirement("SHOP-04", "RFM-04")
def test_a_group_is_stored_applied_and_counted_in_one_transaction(
    take: Take, rows: Rows, transactions: list[int]
) -> None:
    later = order_body(11, 6, updated_at="2026-11-21T00:00:00Z")
    customer = (customer_body(7), "customers/create")
    told: list[Any] = [order_body(11, 5), order_body(12, 5), (later, "orders/updated"), customer]
    assert take(*told) == [APPLIED] * 4
    assert transactions == [4]
    assert rows(COUNTS) == [(5, 1), (6, 1)]
    assert rows("SELECT order_id, customer_id FROM raw_shopify.orders ORDER BY 1") == [
        (11, 6),
        (12, 5),
    ]
    assert rows("SELECT DISTINCT xmin::text FROM raw_shopify.webhook_inbox") == rows(
        "SELECT DISTINCT xmin::text FROM raw_shopify.orders"
    )


@pytest.mark.requirement("SHOP-05")
def test_the_same_webhook_in_and_across_groups_is_processed_once(take: Take, rows: Rows) -> None:
    later = order_body(11, 5, updated_at="2026-11-21T00:00:00Z", source_name="never")
    assert take(order_body(11, 5), (later, "orders/updated"), ids=["same", "same"]) == [
        APPLIED,
        Received(200),
    ]
    answers = take((later, "orders/updated"), order_body(12, 5), ids=["same", "other"])
    assert answers == [Received(200), APPLIED]
    assert rows("SELECT DISTINCT source_name FROM raw_shopify.orders") == [("web",)]
    assert rows(STATES) == [("other", "applied"), ("same", "applied")]


@pytest.mark.requirement("SHOP-04")
def test_a_body_that_cannot_be_read_fails_no_neighbour(
    take: Take, rows: Rows, transactions: list[int]
) -> None:
    told = [order_body(11, 5), b"{", order_body(12, 5, updated_at="never"), order_body(13, 5)]
    failed = Received(200, InboxState.FAILED)
    assert take(*told) == [APPLIED, failed, failed, APPLIED]
    assert transactions == [4]
    assert rows(COUNTS) == [(5, 2)]


@pytest.mark.requirement("SHOP-04")
def test_what_the_database_refuses_is_found_and_fails_no_neighbour(
    take: Take, rows: Rows, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.execute(text(f"{ALTER} ADD CONSTRAINT refuses_13 CHECK (order_id <> 13)"))
    try:
        answers = take(*(order_body(number, 5) for number in range(10, 20)))
    finally:
        with session_scope(session_factory) as session:
            session.execute(text(f"{ALTER} DROP CONSTRAINT refuses_13"))
    expected = [APPLIED] * 10
    expected[3] = Received(200, InboxState.FAILED)
    assert answers == expected
    [(error,)] = rows("SELECT error FROM raw_shopify.webhook_inbox WHERE state = 'failed'")
    assert "CheckViolation" in str(error)
    assert rows(COUNTS) == [(5, 9)]


@pytest.mark.requirement("SHOP-04")
def test_rows_that_somebody_holds_delay_only_those_who_need_them(
    take: Take,
    rows: Rows,
    *,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
) -> None:
    take(order_body(10, 5), order_body(20, 6), ids=["a", "b"])
    with session_scope(session_factory) as session:
        session.execute(
            text("SELECT 1 FROM raw_shopify.customer_statistics WHERE customer_id = 5 FOR UPDATE")
        )
        answers = take(*(order_body(30 + number, 5 + number % 4) for number in range(8)))
        waiting = Received(200, InboxState.RECEIVED)
        assert answers == [waiting, *[APPLIED] * 3, waiting, *[APPLIED] * 3]
    assert inbox.retry_due(session_factory, settings=settings, clock=clock).applied == 2
    assert rows(COUNTS) == [(5, 3), (6, 3), (7, 2), (8, 2)]


@pytest.mark.requirement("SHOP-04", "SHOP-05")
def test_the_same_webhook_that_another_process_is_storing_is_waited_for(
    take: Take, rows: Rows, session_factory: SessionFactory
) -> None:
    """On a busy machine it was refused with 503: the other's commit took longer than 5 ms."""
    take(order_body(10, 5), ids=["a"])
    answers: list[Received] = []
    again = threading.Thread(
        target=lambda: answers.extend(take(order_body(30, 5), order_body(31, 6), ids=["b", "c"]))
    )
    with session_scope(session_factory) as session:
        session.execute(
            text("SELECT 1 FROM raw_shopify.customer_statistics WHERE customer_id = 5 FOR UPDATE")
        )
        session.execute(text(STORE_B))
        again.start()
        while again.is_alive() and not rows(WAITED):
            pass
    again.join()
    assert answers == [Received(200), APPLIED]
    assert rows(STATES) == [("a", "applied"), ("b", "received"), ("c", "applied")]


@pytest.mark.requirement("SHOP-04", "SHOP-02")
def test_while_a_bulk_file_is_applied_webhooks_are_kept_and_applied_after_it(
    take: Take,
    rows: Rows,
    *,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
) -> None:
    with session_scope(session_factory) as session:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('ecomcrm bulk apply'), 1)"))
        assert take(order_body(11, 5), b"{") == [Received(200, InboxState.RECEIVED)] * 2
        assert inbox.retry_due(session_factory, settings=settings, clock=clock).failed == 0
        assert rows("SELECT DISTINCT state, attempts FROM raw_shopify.webhook_inbox") == [
            ("received", 0)
        ]
    rows("UPDATE raw_shopify.webhook_inbox SET next_attempt_at = now() RETURNING 1")
    report = inbox.retry_due(session_factory, settings=settings, clock=clock)
    assert (report.applied, report.failed) == (1, 1)
    assert rows(COUNTS) == [(5, 1)]


@pytest.mark.requirement("SHOP-05")
def test_groups_of_two_processes_with_the_same_webhooks_process_each_once(
    take: Take, rows: Rows
) -> None:
    told = [order_body(number, number % 5 + 1) for number in range(1, 40)]
    with ThreadPoolExecutor(4) as threads:
        for answers in threads.map(lambda _: take(*told), range(4)):
            assert {answer.status for answer in answers} == {200}
    assert rows("SELECT count(*), min(state), max(attempts) FROM raw_shopify.webhook_inbox") == [
        (39, "applied", 1)
    ]
    assert rows("SELECT sum(order_count)::int FROM raw_shopify.customer_statistics") == [(39,)]


@pytest.mark.requirement("SHOP-04")
def test_failed_webhooks_are_tried_again_when_a_person_says_so(
    take: Take,
    rows: Rows,
    *,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
) -> None:
    take(b"{", b"[", order_body(11, 5))
    assert inbox.retry_due(session_factory, settings=settings, clock=clock).failed == 0
    with session_scope(session_factory) as session:
        assert inbox.retry_failed(session, 1, ["w0"]) == 1
    assert inbox.retry_due(session_factory, settings=settings, clock=clock).given_up == 1
    with session_scope(session_factory) as session:
        assert inbox.retry_failed(session, 1) == 2
    assert rows("SELECT count(*) FROM raw_shopify.webhook_inbox WHERE state = 'failed'") == [(2,)]


@pytest.mark.requirement("SHOP-05")
def test_of_two_deletions_in_one_group_the_earlier_one_counts() -> None:
    """The later one of a group won, and the same two in two groups ended otherwise."""
    early, late = datetime(2026, 11, 20, 12, tzinfo=UTC), datetime(2026, 11, 20, 13, tzinfo=UTC)
    for first, second in ((early, late), (late, early), (None, early), (early, None)):
        changes = Changes(gone_customers={5: first}, gone_orders={11: first})
        changes.add(Changes(gone_customers={5: second}, gone_orders={11: second, 12: None}))
        assert changes.gone_customers == {5: early}
        assert changes.gone_orders == {11: early, 12: None}


@pytest.mark.requirement("SHOP-04")
def test_plans_made_while_a_shop_was_empty_are_not_kept_when_it_has_grown(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, shop: Shop
) -> None:
    """A kept plan took an index that begins with the shop for a key, and read every customer of the
    shop for each webhook: a shop that began with webhooks stayed at a third of the speed.
    """
    with session_scope(session_factory) as session:
        known = keys.load(session, DOMAIN, settings.secret_key)
    assert known is not None
    engine = make_engine(settings.database_url.get_secret_value())
    group = Group(make_session_factory(engine), known, settings, clock)

    def take(*numbers: int) -> None:
        letters = [
            Incoming(known, "orders/create", f"w{number}", encode(order_body(number, number)))
            for number in numbers
        ]
        assert receive_group(group, letters) == [APPLIED] * len(letters)

    for number in range(1, 8):
        take(number)
    with session_scope(session_factory) as session:
        session.execute(text(GROWN_CUSTOMERS))
        session.execute(text(GROWN_ORDERS))
    before = _rows_read(engine)
    take(*range(101, 117))
    assert _rows_read(engine) - before < 1000  # without: 96,433
    engine.dispose()


def _rows_read(engine: Engine) -> int:
    """By its one connection, with indexes of the shop's data, so far."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.commit()
        return connection.execute(
            text(
                "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
                " WHERE schemaname = 'raw_shopify'"
            )
        ).scalar_one()
