import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import staging
from core.ingestion.inbox import Received, receive
from core.ingestion.sync import SyncReport, run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.settings import Settings
from tests.fixtures.shopify import FakeShopify, add_shop, encode, webhook_headers

Rows = Callable[..., list[tuple[object, ...]]]
Sync = Callable[..., SyncReport]
Post = Callable[..., Received]
_ids = itertools.count(1)


@pytest.fixture(autouse=True)
def _every_file_is_worth_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that may have helper processes has them from its first block on."""
    monkeypatch.setattr(staging, "ALONE", 0)


@pytest.fixture
def shop(session_factory: SessionFactory, settings: Settings) -> Shop:
    """A connected shop that has never been synced."""
    with session_scope(session_factory) as session:
        return add_shop(session, settings)


@pytest.fixture
def fake() -> FakeShopify:
    return FakeShopify()


@pytest.fixture
def rows(session_factory: SessionFactory) -> Rows:
    """What a query of the test finds, as plain tuples."""

    def ask(sql: str, **values: object) -> list[tuple[object, ...]]:
        with session_scope(session_factory) as session:
            return [tuple(row) for row in session.execute(text(sql), values)]

    return ask


@pytest.fixture
def sync(
    session_factory: SessionFactory,
    fake: FakeShopify,
    shop: Shop,
    clock: MovableClock,
    settings: Settings,
) -> Sync:
    """Runs one sync of the shop against the fake; waits are not waited for."""

    def run(kind: SyncKind = SyncKind.FULL) -> SyncReport:
        with fake.client() as client:
            return run_sync(
                session_factory,
                client,
                shop_id=shop.shop_id,
                kind=kind,
                clock=clock,
                run_id="dagster-run",
                settings=settings,
                sleep=lambda _: None,
            )

    return run


@pytest.fixture
def post(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, shop: Shop
) -> Post:
    """Delivers one signed webhook; `headers` and `secret` can be made wrong."""

    def deliver(
        body: Any,
        topic: str = "orders/create",
        *,
        webhook_id: str | None = None,
        headers: dict[str, str] | None = None,
        **signing: Any,
    ) -> Received:
        raw = encode(body)
        given = webhook_headers(raw, topic, webhook_id or f"w{next(_ids)}", **signing)
        return receive(
            session_factory,
            headers=given | (headers or {}),
            body=raw,
            settings=settings,
            clock=clock,
        )

    return deliver
