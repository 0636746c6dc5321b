"""Syncs against the sandbox while it misbehaves in every way it can: the rows are the same."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.clock import SystemClock
from core.database import session_scope
from core.errors import PermanentError
from core.ingestion.reconcile import run_reconcile
from core.ingestion.refresh import refresh_due, request
from core.ingestion.sync import SyncReport, run_sync
from core.models.enums import ObjectType, SyncKind
from core.shopify import client
from tests.core.ingestion.conftest import Rows
from tests.core.ingestion.test_sandbox_flow import World, sandbox, world  # noqa: F401 - fixtures
from tests.fixtures.shopify import (
    DOMAIN,
    bulk_line,
    checkout_child,
    checkout_node,
    child,
    customer_node,
    order_node,
    product_node,
)

pytestmark = [pytest.mark.processes, pytest.mark.requirement("SHOP-01", "SHOP-02")]

COUNTS = """
    SELECT
        (SELECT count(*) FROM raw_shopify.customers),
        (SELECT count(*) FROM raw_shopify.orders),
        (SELECT count(*) FROM raw_shopify.order_lines),
        (SELECT count(*) FROM raw_shopify.checkouts),
        (SELECT count(*) FROM raw_shopify.products),
        (SELECT sum(order_count) FROM raw_shopify.customer_statistics)"""
ALL_OF_IT = [(40, 60, 120, 5, 8, 60)]
# Knobs, and what the log of the sync says of it ("" = nothing a merchant need know).
TROUBLE: dict[str, tuple[dict[str, Any], str]] = {
    "fails once": ({"bulk_fail_times": 1}, "had an error of its own"),
    "fails often": ({"bulk_fail_times": 6}, "in two halves"),
    "gives parts": ({"bulk_partial_times": 8}, "asked for the rest"),
    "runs out of time": ({"bulk_timeout_times": 3}, "in two halves"),
    "cancels": ({"bulk_cancel_times": 2}, "CANCELED"),
    "forgets": ({"bulk_expire_times": 2}, "EXPIRED"),
    "gives no address": ({"bulk_null_url_times": 2}, "gave no file"),
    "truncates": ({"bulk_truncate_times": 1}, "arrived incomplete"),
    "cuts downloads": ({"bulk_drop_download_times": 4}, ""),
    "lets an address expire": ({"bulk_expire_url_times": 1}, "gave a new one"),
    "lets addresses expire": ({"bulk_expire_url_times": 2}, "has expired. Asking again"),
    "is not there": ({"shopify_times": 3, "shopify_status": 503}, ""),
    "is busy": ({"shopify_times": 3, "shopify_status": 429}, ""),
    "throttles": ({"shopify_throttle_times": 4}, ""),
    "revokes a token": ({"shopify_revoke_token_times": 1}, ""),
    "moves its version": ({"shopify_served_version": "2026-10"}, "does not serve API version"),
    "shuffles": ({"bulk_line_order": "shuffled"}, ""),
}


@pytest.fixture
def shop_world(
    world: World,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """The sandbox with a shop of all four types; its knobs are turned back afterwards.

    How long the client waits before it asks again is its own tests' matter; here it hardly does.
    """
    monkeypatch.setattr(client._Retries, "_seconds", lambda *_: 0.05)
    folder = tmp_path / "shop"
    folder.mkdir()
    about = {"name": "Tea & Tools", "domain": DOMAIN, "currency": "EUR"}
    (folder / "shop.json").write_text(json.dumps(about | {"time_zone": "Europe/Berlin"}))
    files: dict[str, list[Any]] = {
        "customers": [
            customer_node(number, updatedAt=f"2026-10-{number % 28 + 1:02}T10:00:00Z")
            for number in range(1, 41)
        ],
        "orders": [
            node
            for number in range(1, 61)
            for node in (
                order_node(number, number % 30 + 1, total=f"{number}.5"),
                child(number, number * 10),
                child(number, number * 10 + 1),
            )
        ],
        "checkouts": [
            node
            for number in range(901, 906)
            for node in (checkout_node(number, 1), checkout_child(number, number * 10))
        ],
        "products": [product_node(number) for number in range(70, 78)],
    }
    for name, nodes in files.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(map(bulk_line, nodes)))
    post(world, "/_sandbox/shops", {"folder": str(folder), "replace": True})
    yield world
    httpx.delete(f"{world.base}/_sandbox/faults", trust_env=False).raise_for_status()


def post(world: World, path: str, body: object) -> None:  # noqa: F811 - its class's instance
    answer = httpx.post(f"{world.base}{path}", json=body, trust_env=False, timeout=60)
    assert answer.is_success, answer.text


def nap(seconds: float) -> None:
    """Waits for Shopify are shortened: what is tried is that we go on, not when."""
    time.sleep(min(seconds, 0.05))


def full_sync(
    world: World,  # noqa: F811
    kind: SyncKind = SyncKind.FULL,
    *,
    sleep: Callable[[float], None] = nap,
) -> SyncReport:
    return run_sync(
        world.factory,
        world.client,
        shop_id=world.shop.shop_id,
        kind=kind,
        clock=SystemClock(),
        run_id=None,
        settings=world.settings,
        sleep=sleep,
    )


@pytest.mark.parametrize(("knobs", "words"), TROUBLE.values(), ids=TROUBLE.keys())
def test_whatever_shopify_does_everything_is_loaded_in_the_end(
    shop_world: World, rows: Rows, knobs: dict[str, Any], words: str
) -> None:
    post(shop_world, "/_sandbox/faults", knobs)
    report = full_sync(shop_world)
    assert rows(COUNTS) == ALL_OF_IT
    assert report.rejected == 0
    read = (report.customers, report.orders, report.order_lines, report.checkouts, report.products)
    if "bulk_partial_times" not in knobs:  # by whole days, what follows a part repeats some of it
        assert read == (40, 60, 120, 5, 8)
    assert shop_world.mismatches() == 0
    assert rows("SELECT state FROM raw_shopify.sync_runs") == [("completed",)]
    assert len(rows("SELECT 1 FROM raw_shopify.sync_cursors WHERE object_id = 0")) == 4
    said = " ".join(str(message) for (message,) in rows("SELECT message FROM raw_shopify.sync_log"))
    assert words in said


def test_lines_that_shopify_spoils_are_counted_and_come_with_a_later_sync(
    shop_world: World, rows: Rows
) -> None:
    post(shop_world, "/_sandbox/faults", {"bulk_corrupt_lines": 2})
    assert full_sync(shop_world).rejected >= 8
    assert rows(COUNTS) != ALL_OF_IT
    assert len(rows("SELECT 1 FROM raw_shopify.rejected_lines WHERE length(content) > 0")) >= 8
    post(shop_world, "/_sandbox/faults", {"bulk_corrupt_lines": 0})
    assert full_sync(shop_world).rejected == 0
    assert rows(COUNTS) == ALL_OF_IT


@pytest.mark.parametrize(
    ("scope", "denied", "loaded"),
    [
        # An order names its customer: without customers no orders either.
        ("read_customers", ("customers", "orders"), "products"),
        ("read_orders", ("orders", "checkouts"), "customers"),
    ],
)
def test_a_scope_that_is_missing_is_said(
    shop_world: World, rows: Rows, *, scope: str, denied: tuple[str, ...], loaded: str
) -> None:
    post(shop_world, "/_sandbox/faults", {"shopify_missing_scopes": scope})
    with pytest.raises(PermanentError, match="may not read"):
        full_sync(shop_world)
    for table in denied:
        assert rows(f"SELECT count(*) FROM raw_shopify.{table}") == [(0,)]
    assert rows(f"SELECT count(*) > 0 FROM raw_shopify.{loaded}") == [(True,)]
    [(state, error)] = rows("SELECT state, error FROM raw_shopify.sync_runs")
    assert state == "failed"
    assert scope in str(error)
    post(shop_world, "/_sandbox/faults", {"shopify_missing_scopes": ""})
    full_sync(shop_world)
    assert rows(COUNTS) == ALL_OF_IT


def test_without_read_products_all_the_rest_is_read_and_the_products_come_with_the_scope(
    shop_world: World, rows: Rows
) -> None:
    """The lines of orders name products: the whole sync failed for want of a picture."""
    named = "SELECT count(product_id) FROM raw_shopify.order_lines"
    post(shop_world, "/_sandbox/faults", {"shopify_missing_scopes": "read_products"})
    full_sync(shop_world)
    assert rows(COUNTS) == [(40, 60, 120, 5, 0, 60)]
    assert rows(named) == [(0,)]
    [(state, warning)] = rows("SELECT state, warning FROM raw_shopify.sync_runs")
    assert state == "completed"
    assert "read_products" in str(warning)
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE level = 'warning'")
    assert said == [(warning,)]
    with session_scope(shop_world.factory) as session:
        shop_id, now = shop_world.shop.shop_id, SystemClock().now()
        request(session, shop_id, ObjectType.ORDER, [1, 2], "test", at=now)
    report = refresh_due(
        shop_world.factory,
        lambda _: shop_world.client,
        settings=shop_world.settings,
        clock=SystemClock(),
    )
    assert report.read == 2
    post(shop_world, "/_sandbox/faults", {"shopify_missing_scopes": ""})
    full_sync(shop_world)
    assert rows(COUNTS) == ALL_OF_IT
    assert rows(named) == [(120,)], "also of orders that have not changed since"


def test_strangers_hold_all_slots_until_they_end(shop_world: World, rows: Rows) -> None:
    post(shop_world, "/_sandbox/faults", {"bulk_strangers": 5})
    naps: list[float] = []

    def leave(seconds: float) -> None:
        naps.append(seconds)
        if sum(naps) > 65:
            post(shop_world, "/_sandbox/faults", {"bulk_strangers": 0})

    full_sync(shop_world, sleep=leave)
    assert rows(COUNTS) == ALL_OF_IT
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE message LIKE '%other programs%'")
    assert len(said) == 1
    assert "5 of them" in str(said)


LIST = "{ bulkOperations(first: 50) { nodes { id status } } }"


def test_operations_of_ours_that_are_given_up_are_cancelled_and_nobody_elses(
    shop_world: World, rows: Rows
) -> None:
    """They held all slots, and the sync that had given them up waited for them."""
    full_sync(shop_world)
    post(shop_world, "/_sandbox/faults", {"bulk_hold": True})

    def die(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        full_sync(shop_world, SyncKind.INCREMENTAL, sleep=die)
    left = rows("SELECT operation_id FROM raw_shopify.bulk_operations WHERE state = 'submitted'")
    assert len(left) == 5

    def release(_: float) -> None:
        post(shop_world, "/_sandbox/faults", {"bulk_hold": False})
        time.sleep(0.05)

    post(shop_world, "/_sandbox/faults", {"bulk_strangers": 1})
    full_sync(shop_world, sleep=release)
    assert rows(COUNTS) == ALL_OF_IT
    nodes = shop_world.client.execute(LIST)["bulkOperations"]["nodes"]
    states = {node["id"]: node["status"] for node in nodes}
    ended = {states.pop(str(operation_id)) for (operation_id,) in left}
    assert ended == {"CANCELED"}
    assert sorted(states.values()) == ["COMPLETED"] * 8 + ["RUNNING"], "and a stranger's goes on"


def test_without_read_all_orders_old_orders_are_neither_seen_nor_taken_for_deleted(
    shop_world: World, rows: Rows
) -> None:
    full_sync(shop_world)
    post(shop_world, "/_sandbox/faults", {"shopify_missing_scopes": "read_all_orders"})
    full_sync(shop_world)
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(60,)]
    assert rows("SELECT 1 FROM raw_shopify.refresh_requests") == []
    [(warning,)] = rows("SELECT warning FROM raw_shopify.sync_runs WHERE sync_run_id = 2")
    assert "60 days" in str(warning)


def test_a_search_that_shopify_did_not_hear_is_an_error(shop_world: World, rows: Rows) -> None:
    post(shop_world, "/_sandbox/faults", {"shopify_search_warning_times": 20})
    with pytest.raises(PermanentError, match="misread a search"):
        full_sync(shop_world)
    assert rows("SELECT 1 FROM raw_shopify.sync_cursors") == []


def test_an_incremental_sync_and_a_reconciliation_find_nothing_amiss(
    shop_world: World, rows: Rows
) -> None:
    full_sync(shop_world)
    full_sync(shop_world, SyncKind.INCREMENTAL)
    report = run_reconcile(
        shop_world.factory,
        shop_world.client,
        shop_id=shop_world.shop.shop_id,
        clock=SystemClock(),
        run_id=None,
        settings=shop_world.settings,
        sleep=nap,
    )
    for object_type, count in ((ObjectType.CUSTOMER, 40), (ObjectType.ORDER, 60)):
        found = report.types[object_type]
        assert (found.shopify, found.held) == (count, count)
        assert (found.missing, found.stale, found.absent) == (0, 0, 0)
    assert rows("SELECT 1 FROM raw_shopify.refresh_requests") == []
    assert rows(COUNTS) == ALL_OF_IT
