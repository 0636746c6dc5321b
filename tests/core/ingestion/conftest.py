from collections.abc import Callable

import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.sync import SyncReport, run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.settings import Settings
from tests.fixtures.shopify import FakeShopify, add_shop

Rows = Callable[..., list[tuple[object, ...]]]
Sync = Callable[..., SyncReport]


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
    session_factory: SessionFactory, fake: FakeShopify, shop: Shop, clock: MovableClock
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
                sleep=lambda _: None,
            )

    return run
