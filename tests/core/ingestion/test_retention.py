"""What is kept for a while goes when its time is over, and nothing else does."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.retention import RULES, remove_expired
from core.models import (
    Base,
    InboxMessage,
    PrivacyRequest,
    RefreshRequest,
    RejectedLine,
    SyncLogEntry,
    SyncRequest,
    TagAddition,
)
from core.models.enums import (
    InboxState,
    LogLevel,
    ObjectType,
    PrivacyKind,
    PrivacyState,
    SyncKind,
    SyncRequestState,
)
from core.settings import Settings
from tests.fixtures.shopify import add_shop

Make = Callable[[int, datetime], Base]


def message(state: InboxState, number: int = 1) -> Make:
    return lambda shop_id, at: InboxMessage(
        shop_id=shop_id,
        webhook_id=f"{state}-{at.isoformat()}-{number}",
        topic="orders/create",
        body=b"{}",
        state=state,
        received_at=at,
    )


def rejected(shop_id: int, at: datetime) -> Base:
    return RejectedLine(
        shop_id=shop_id,
        sync_run_id=1,
        object_type=ObjectType.ORDER,
        line_number=1,
        content=b"{",
        error="not JSON",
        rejected_at=at,
    )


def log_entry(shop_id: int, at: datetime) -> Base:
    return SyncLogEntry(shop_id=shop_id, sync_run_id=1, at=at, level=LogLevel.INFO, message="done")


def refresh(*, given_up: bool) -> Make:
    return lambda shop_id, at: RefreshRequest(
        shop_id=shop_id,
        object_type=ObjectType.ORDER,
        object_id=int(at.timestamp()),
        reason="r",
        requested_at=at,
        next_attempt_at=None if given_up else at,
    )


def sync_request(state: SyncRequestState) -> Make:
    is_over = state in (SyncRequestState.COMPLETED, SyncRequestState.FAILED)
    return lambda shop_id, at: SyncRequest(
        shop_id=shop_id,
        kind=SyncKind.FULL,
        state=state,
        requested_at=at,
        finished_at=at if is_over else None,
    )


def added_tag(shop_id: int, at: datetime) -> Base:
    return TagAddition(shop_id=shop_id, customer_id=1, tag="vip", added_at=at)


EXPIRES: list[tuple[str, Make, timedelta]] = [
    ("applied webhooks", message(InboxState.APPLIED), timedelta(days=30)),
    ("applied webhooks", message(InboxState.IGNORED), timedelta(days=30)),
    ("webhooks not applied", message(InboxState.FAILED), timedelta(days=90)),
    ("webhooks not applied", message(InboxState.RECEIVED), timedelta(days=90)),
    ("rejected lines", rejected, timedelta(days=30)),
    ("sync log", log_entry, timedelta(days=90)),
    ("added tags", added_tag, timedelta(days=90)),
    ("refresh requests given up", refresh(given_up=True), timedelta(days=90)),
    ("finished sync requests", sync_request(SyncRequestState.COMPLETED), timedelta(days=90)),
    ("finished sync requests", sync_request(SyncRequestState.FAILED), timedelta(days=90)),
]


@pytest.fixture
def shop_id(session_factory: SessionFactory, settings: Settings) -> int:
    with session_scope(session_factory) as session:
        return add_shop(session, settings).shop_id


def store(factory: SessionFactory, *rows: Base) -> None:
    with session_scope(factory) as session:
        session.add_all(rows)


def count(factory: SessionFactory, model: type[Base]) -> int:
    with session_scope(factory) as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def test_every_rule_has_a_test() -> None:
    assert {rule.name for rule in RULES} == {name for name, *_ in EXPIRES} | {"privacy exports"}


@pytest.mark.parametrize(("name", "make", "keep"), EXPIRES)
def test_a_row_goes_once_its_time_is_over_and_not_before(
    *,
    name: str,
    make: Make,
    keep: timedelta,
    session_factory: SessionFactory,
    shop_id: int,
    clock: MovableClock,
) -> None:
    row = make(shop_id, clock.now())
    store(session_factory, row)
    clock.advance(keep)
    assert not any(remove_expired(session_factory, clock=clock).values())
    assert count(session_factory, type(row)) == 1
    clock.advance(timedelta(seconds=1))
    removed = remove_expired(session_factory, clock=clock)
    assert {rule: rows for rule, rows in removed.items() if rows} == {name: 1}
    assert count(session_factory, type(row)) == 0


@pytest.mark.parametrize(
    "make",
    [
        sync_request(SyncRequestState.REQUESTED),
        sync_request(SyncRequestState.LAUNCHED),
        refresh(given_up=False),
    ],
)
def test_what_is_still_to_be_done_stays_for_ever(
    make: Make, session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    row = make(shop_id, clock.now())
    store(session_factory, row)
    clock.advance(timedelta(days=3650))
    remove_expired(session_factory, clock=clock)
    assert count(session_factory, type(row)) == 1


def completed_export(shop_id: int, at: datetime, **values: Any) -> Base:
    return PrivacyRequest(
        shop_id=shop_id,
        webhook_id="w1",
        kind=PrivacyKind.DATA_REQUEST,
        state=PrivacyState.COMPLETED,
        requested_at=at,
        due_at=at,
        finished_at=at,
        **values,
    )


def test_an_export_goes_thirty_days_after_it_was_made_and_its_receipt_stays(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    export = {"email": "ada@example.com"}
    store(
        session_factory,
        completed_export(shop_id, clock.now(), export=export, receipt={"orders": 2}),
    )
    clock.advance(timedelta(days=30))
    assert remove_expired(session_factory, clock=clock)["privacy exports"] == 0
    clock.advance(timedelta(seconds=1))
    assert remove_expired(session_factory, clock=clock)["privacy exports"] == 1
    with session_scope(session_factory) as session:
        kept = session.scalars(select(PrivacyRequest)).one()
        assert (kept.export, kept.receipt) == (None, {"orders": 2})
        # A JSON `null` would be found, and cleared, every night again.
        assert session.scalar(select(PrivacyRequest.export.is_(None)))
    assert remove_expired(session_factory, clock=clock)["privacy exports"] == 0


def test_a_moved_clock_ages_what_is_written_in_business_time_only(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock
) -> None:
    """A demo whose time is half a year ahead would lose webhooks that came a minute ago."""
    ahead = timedelta(days=180)
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings, is_sandbox=True, clock_offset=ahead).shop_id
        session.add_all(
            [
                message(InboxState.APPLIED)(shop_id, clock.now()),
                log_entry(shop_id, clock.now()),
                log_entry(shop_id, clock.now() + ahead),
            ]
        )
    removed = remove_expired(session_factory, clock=clock)
    assert {rule: rows for rule, rows in removed.items() if rows} == {"sync log": 1}


def test_more_than_a_batch_goes_in_several_and_can_be_stopped_between(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    at = clock.now() - timedelta(days=31)
    rows = [message(InboxState.APPLIED, number)(shop_id, at) for number in range(7)]
    store(session_factory, *rows, message(InboxState.APPLIED)(shop_id, clock.now()))
    stops = iter([False, True])
    few = remove_expired(session_factory, clock=clock, batch=3, stop=lambda: next(stops, True))
    assert few["applied webhooks"] == 3
    assert count(session_factory, InboxMessage) == 5
    assert remove_expired(session_factory, clock=clock, batch=3)["applied webhooks"] == 4
    assert count(session_factory, InboxMessage) == 1


def test_a_row_that_somebody_holds_is_left_to_the_next_night(
    session_factory: SessionFactory, shop_id: int, clock: MovableClock
) -> None:
    at = clock.now() - timedelta(days=91)
    store(session_factory, *(message(InboxState.FAILED, number)(shop_id, at) for number in (1, 2)))
    with session_scope(session_factory) as other:
        other.execute(select(InboxMessage).limit(1).with_for_update()).all()
        assert remove_expired(session_factory, clock=clock)["webhooks not applied"] == 1
    assert remove_expired(session_factory, clock=clock)["webhooks not applied"] == 1
