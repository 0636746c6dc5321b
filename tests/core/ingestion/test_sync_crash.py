"""kill -9 at every step of a sync: the next one ends in the same rows as an undisturbed one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import runs
from core.models import Shop
from core.paths import PROJECT_ROOT
from core.settings import Settings
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import (
    FakeShopify,
    checkout_child,
    checkout_node,
    child,
    customer_node,
    order_node,
    product_node,
    refund_node,
)
from tests.fixtures.shopify_server import served

pytestmark = [pytest.mark.processes, pytest.mark.requirement("SHOP-02")]

CHUNKS = "core.ingestion.bulk_file:BulkFile._chunks"
OPERATIONS, LOADS = "core.ingestion.operations:Operations", "core.ingestion.loads:Loads"
# Step → where it is, and how many exports are asked for until all is loaded: four, and again each
# that had been loaded or was lost.
STEPS = {
    "asked for at Shopify, not yet remembered": (f"{OPERATIONS}._start", "after", 2, 5),
    "remembered": (f"{OPERATIONS}.submit", "after", 1, 4),
    "all asked for": (f"{OPERATIONS}.submit", "after", 4, 4),
    "polling": (f"{OPERATIONS}.read", "after", 1, 4),
    "mid-download": (CHUNKS, "during", 1, 4),
    "mid-download, with two processes at work on it": (CHUNKS, "during", 2, 5),
    "staged": ("core.ingestion.loads:stage", "after", 1, 4),
    "before the commit of the first file": ("core.ingestion.loads:mark_loaded", "after", 1, 4),
    "between applying and the cursor": ("core.ingestion.staging:Staged.apply", "after", 2, 5),
    "after the commit of the first file": (f"{LOADS}._apply", "after", 1, 5),
    "between types": (f"{LOADS}._apply", "after", 2, 6),
    "before the last file": (f"{LOADS}._apply", "before", 4, 7),
    "all loaded, the run still open": ("core.ingestion.runs:complete", "before", 1, 8),
    "completed, the lock still held": ("core.ingestion.runs:complete", "after", 1, 8),
}
# What differs from run to run; the touches of one statement come in any order.
TABLES = {
    "customers": "loaded_at",
    "orders": "loaded_at",
    "order_lines": None,
    "refunds": None,
    "checkouts": "loaded_at",
    "products": "loaded_at",
    "customer_statistics": None,
    "customer_touches": "touched_at,touch_id",
    "refresh_requests": "requested_at",
}


@pytest.fixture
def address(fake: FakeShopify) -> Iterator[str]:
    fake.customers = [customer_node(number) for number in range(1, 6)]
    fake.orders = [
        node
        for number in range(11, 31)
        for node in (
            order_node(number, number % 7 or None, refunds=[refund_node(number * 10, "1.0")]),
            child(number, number * 10),
            child(number, number * 10 + 1),
        )
    ]
    fake.checkouts = [checkout_node(51, 1), checkout_child(51, 511), checkout_node(52)]
    fake.products = [product_node(77), product_node(78)]
    with served(fake) as address:
        yield address


def everything(rows: Rows) -> dict[str, list[tuple[object, ...]]]:
    """All rows of what a sync fills, without what differs from run to run."""
    found = {}
    for table, volatile in TABLES.items():
        gone = f" - '{{{volatile}}}'::text[]" if volatile else ""
        also = " - 'next_attempt_at'" if table == "refresh_requests" else ""
        found[table] = rows(f"SELECT to_jsonb(t){gone}{also} FROM raw_shopify.{table} t ORDER BY 1")
    return found


def crash(
    address: str,
    shop: Shop,
    settings: Settings,
    step: tuple[str, str, int, int],
    *,
    processes: int = 1,
) -> None:
    """Run a sync in a process that dies at the step."""
    environment = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "ECOMCRM_SECRET_KEY": settings.secret_key.get_secret_value(),
        "ECOMCRM_HOME": str(settings.home),
        "ECOMCRM_INGEST_PROCESSES": str(processes),
    }
    command = [sys.executable, "-m", "tests.core.ingestion.crashing_sync", str(shop.shop_id)]
    ended = subprocess.run(
        [*command, address, step[0], step[1], str(step[2])],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-3000:]


def forget(session_factory: SessionFactory, fake: FakeShopify) -> None:
    """As if the shop had never been synced."""
    with session_scope(session_factory) as session:
        for table in ("sync_runs", "bulk_operations", *TABLES):
            session.execute(text(f"TRUNCATE raw_shopify.{table} RESTART IDENTITY CASCADE"))
        session.execute(
            text(
                "UPDATE crm.shops SET first_sync_started_at = NULL, first_sync_completed_at = NULL"
            )
        )
    fake.operations.clear()
    fake.queries.clear()


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_sync_killed_at_any_step_goes_on_to_the_same_rows(
    step: tuple[str, str, int, int],
    address: str,
    fake: FakeShopify,
    shop: Shop,
    *,
    settings: Settings,
    session_factory: SessionFactory,
    sync: Sync,
    rows: Rows,
    clock: MovableClock,
) -> None:
    crash(address, shop, settings, step, processes=step[2] if step[1] == "during" else 1)
    is_over = step[:2] == ("core.ingestion.runs:complete", "after")
    assert runs.sweep_dead(session_factory, clock=clock) == (0 if is_over else 1)
    sync()
    assert len(fake.queries) == step[3], "nothing is paid for twice"
    after = everything(rows)
    assert (
        rows(
            "SELECT 1 FROM pg_class WHERE relnamespace = 'raw_shopify_staging'::regnamespace"
            " AND relkind = 'r'"
        )
        == []
    )
    assert rows("SELECT 1 FROM raw_shopify.bulk_operations WHERE state = 'submitted'") == []
    forget(session_factory, fake)
    sync()
    assert after == everything(rows)
