"""What goes wrong while a webhook is applied: nothing is lost, nothing is done by half."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from core.clock import MovableClock
from core.database import SessionFactory, make_session_factory, session_scope
from core.ingestion import apply, inbox, rare_changes
from core.ingestion.inbox import InboxReport, Received, receive
from core.models import Shop
from core.models.enums import InboxState
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.shopify import (
    DOMAIN,
    encode,
    order_body,
    webhook_headers,
)

INBOX = "SELECT state, error, attempts, next_attempt_at FROM raw_shopify.webhook_inbox"

Retry = Callable[[], InboxReport]


@pytest.fixture
def retry(session_factory: SessionFactory, settings: Settings, clock: MovableClock) -> Retry:
    return lambda: inbox.retry_due(session_factory, settings=settings, clock=clock)


def test_what_the_database_cannot_take_is_kept_and_leaves_nothing_half_done(
    post: Post, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(session: Session, *_: object, **__: object) -> None:
        session.execute(text("INSERT INTO crm.users (email, password_hash) VALUES ('x', 'y')"))
        session.execute(text("SELECT 9999999999::int"))

    monkeypatch.setattr(rare_changes, "after_orders", too_much)
    assert post({"id": 11}, "orders/delete") == Received(200, InboxState.FAILED)
    [(_, error, _, next_attempt_at)] = rows(INBOX)
    assert "NumericValueOutOfRange" in str(error)
    assert next_attempt_at is None
    assert rows("SELECT 1 FROM crm.users") == []


@pytest.mark.requirement("SHOP-04")
def test_a_bug_of_ours_loses_no_webhook(
    *,
    post: Post,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    session_factory: SessionFactory,
    retry: Retry,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    with monkeypatch.context() as patch:
        patch.setitem(apply.HANDLERS, "orders/create", broken)  # type: ignore[arg-type]
        assert post(order_body(11, 5)) == Received(200, InboxState.FAILED)
        [(state, error, attempts, next_attempt_at)] = rows(INBOX)
        assert (state, attempts) == ("failed", 1)
        assert "KeyError" in str(error)
        assert next_attempt_at is not None
        assert retry() == InboxReport()
        _make_due(session_factory)
        assert retry() == InboxReport(failed=1)
    _make_due(session_factory)
    assert retry() == InboxReport(applied=1)
    assert rows(INBOX) == [("applied", None, 3, None)]
    assert rows("SELECT order_count FROM raw_shopify.customer_statistics") == [(1,)]


def test_what_fails_again_and_again_is_given_up_in_the_end(
    *,
    post: Post,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    session_factory: SessionFactory,
    retry: Retry,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setitem(apply.HANDLERS, "orders/create", broken)  # type: ignore[arg-type]
    post(order_body(11, 5))
    rounds = 0
    report = InboxReport()
    while not report.given_up:
        _make_due(session_factory)
        report = retry()
        rounds += 1
    assert rounds == 10
    assert rows(INBOX)[0][3] is None


def _make_due(factory: SessionFactory) -> None:
    with session_scope(factory) as session:
        session.execute(
            text(
                "UPDATE raw_shopify.webhook_inbox SET next_attempt_at = clock_timestamp()"
                " WHERE next_attempt_at IS NOT NULL"
            )
        )


@pytest.mark.requirement("SHOP-04")
def test_rows_that_somebody_holds_too_long_are_waited_for_later(
    *,
    post: Post,
    rows: Rows,
    session_factory: SessionFactory,
    retry: Retry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sync that commits holds the customers it touches; Shopify waits five seconds at most."""
    monkeypatch.setattr(inbox, "LOCK_TIMEOUT", "100ms")
    post(order_body(11, 5))
    with session_scope(session_factory) as session:
        session.execute(text("SELECT 1 FROM raw_shopify.customer_statistics FOR UPDATE"))
        assert post(order_body(12, 5)) == Received(200, InboxState.FAILED)
    assert "LockNotAvailable" in str(rows(INBOX + " WHERE state = 'failed'")[0][1])
    _make_due(session_factory)
    assert retry() == InboxReport(applied=1)
    assert rows("SELECT order_count FROM raw_shopify.customer_statistics") == [(2,)]


@pytest.mark.requirement("SHOP-04")
def test_without_a_database_shopify_is_asked_to_come_again(
    settings: Settings, clock: MovableClock, shop: Shop
) -> None:
    nowhere = create_engine("postgresql+psycopg://x:x@127.0.0.1:1/x")
    body = encode(order_body(11, 5))
    answer = receive(
        make_session_factory(nowhere),
        headers=webhook_headers(body, "orders/create", "w1"),
        body=body,
        settings=settings,
        clock=clock,
    )
    assert answer == Received(503)
    nowhere.dispose()


def test_a_key_that_opens_no_secret_is_our_trouble_not_a_wrong_signature(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, shop: Shop
) -> None:
    body = encode(order_body(11, 5))
    other = settings.model_copy(update={"secret_key": type(settings.secret_key)("x" * 32)})
    answer = receive(
        session_factory,
        headers=webhook_headers(body, "orders/create", "w1"),
        body=body,
        settings=other,
        clock=clock,
    )
    assert answer == Received(503)


def test_business_time_of_the_shop_marks_what_an_order_touched(
    post: Post, rows: Rows, session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        moved = session.get_one(Shop, shop.shop_id)
        moved.is_sandbox, moved.clock_offset = True, timedelta(days=30)
    post(order_body(11, 5))
    assert rows("SELECT touched_at FROM raw_shopify.customer_touches") == [
        (clock.now() + timedelta(days=30),)
    ]


def test_nothing_of_a_body_is_logged(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    post(order_body(11, 5))
    post(order_body(12, 5, updated_at="never"))
    post(b"{broken c5@example.com")
    assert "example.com" not in caplog.text.replace(DOMAIN, "")
    assert "Ada" not in caplog.text


@pytest.mark.requirement("SHOP-05")
def test_two_deliveries_of_one_webhook_at_once_are_processed_once(
    engine: Engine, settings: Settings, clock: MovableClock, shop: Shop, rows: Rows
) -> None:
    factory = make_session_factory(engine)
    body = encode(order_body(11, 5))
    headers = webhook_headers(body, "orders/create", "same")

    def deliver(_: int) -> int:
        return receive(factory, headers=headers, body=body, settings=settings, clock=clock).status

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(deliver, range(12))) == {200}
    assert rows(INBOX) == [("applied", None, 1, None)]
    assert rows("SELECT order_count FROM raw_shopify.customer_statistics") == [(1,)]
