"""The real client against the sandbox as a process: connect, sync, webhooks, refresh."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from core import shops
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.ingestion.inbox import receive
from core.ingestion.refresh import refresh_due
from core.ingestion.sync import run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.paths import PROJECT_ROOT
from core.settings import Settings
from core.shopify.client import ShopifyClient
from core.subscriptions import register_webhooks
from tests.core.ingestion.conftest import Rows
from tests.fixtures.shopify import (
    CLIENT_SECRET,
    DOMAIN,
    bulk_line,
    child,
    customer_node,
    order_node,
)

pytestmark = pytest.mark.processes
RESEND_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, shopify_schema_path: Path) -> Iterator[str]:
    """The address of a sandbox process without shops."""
    state, port = tmp_path_factory.mktemp("sandbox"), free_port()
    names = {
        "SANDBOX_CLIENT_ID": "client",
        "SANDBOX_CLIENT_SECRET": CLIENT_SECRET,
        "SANDBOX_RESEND_API_KEY": "re_test",
        "SANDBOX_RESEND_WEBHOOK_SECRET": RESEND_SECRET,
    }
    command = [
        *(sys.executable, "-m", "sandbox", "serve", "--port", str(port)),
        *("--state", str(state), "--schema", str(shopify_schema_path)),
    ]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=os.environ | names, stdout=log, stderr=log
        )
    base = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(base, process, state / "log")
        yield base
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_up(base: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            httpx.get(f"{base}/healthz", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return


@dataclass
class World:
    """The sandbox with one shop, and our side of it."""

    base: str
    factory: SessionFactory
    settings: Settings
    client: ShopifyClient
    shop: Shop

    def sandbox(self, path: str, body: object) -> dict[str, object]:
        address = f"{self.base}/_sandbox/shops/{DOMAIN}{path}"
        answer = httpx.post(address, json=body, trust_env=False, timeout=60)
        assert answer.is_success, answer.text
        found: dict[str, object] = answer.json()
        return found

    def sync(self, kind: SyncKind = SyncKind.FULL) -> None:
        run_sync(
            self.factory,
            self.client,
            shop_id=self.shop.shop_id,
            kind=kind,
            clock=SystemClock(),
            run_id=None,
            settings=self.settings,
        )

    def refresh(self) -> int:
        return refresh_due(
            self.factory, lambda _: self.client, settings=self.settings, clock=SystemClock()
        ).read

    def mismatches(self) -> int:
        with session_scope(self.factory) as session:
            return statistics.mismatches(session, self.shop.shop_id)


@pytest.fixture
def world(
    sandbox: str, tmp_path: Path, session_factory: SessionFactory, settings: Settings
) -> Iterator[World]:
    load_shop(sandbox, tmp_path)
    local = settings.model_copy(update={"shopify_base_url": f"{sandbox}/shopify/{{shop}}"})
    with ShopifyClient(
        domain=DOMAIN,
        client_id="client",
        client_secret=CLIENT_SECRET,
        base_url=local.shopify_base_url,
        api_version="2026-07",
    ) as client:
        with session_scope(session_factory) as session:
            shop = shops.connect_shop(
                session, client, settings=local, is_sandbox=True, clock=SystemClock()
            )
        yield World(sandbox, session_factory, local, client, shop)


def load_shop(base: str, folder: Path) -> None:
    about = {
        "name": "Tea & Tools",
        "domain": DOMAIN,
        "currency": "EUR",
        "time_zone": "Europe/Berlin",
    }
    (folder / "shop.json").write_text(json.dumps(about))
    customers = [customer_node(number) for number in range(1, 41)]
    orders = [
        node
        for number in range(1, 61)
        for node in (
            order_node(number, number % 30 + 1, total=f"{number}.5"),
            child(number, number * 10),
            child(number, number * 10 + 1),
        )
    ]
    (folder / "customers.jsonl").write_bytes(b"".join(map(bulk_line, customers)))
    (folder / "orders.jsonl").write_bytes(b"".join(map(bulk_line, orders)))
    answer = httpx.post(
        f"{base}/_sandbox/shops",
        json={"folder": str(folder), "replace": True},
        trust_env=False,
        timeout=60,
    )
    assert answer.is_success, answer.text


@pytest.mark.requirement("SHOP-02", "SHOP-07", "RFM-04")
def test_a_shop_is_synced_through_bulk_operations(world: World, rows: Rows) -> None:
    world.sync()
    assert rows("SELECT count(*) FROM raw_shopify.customers") == [(40,)]
    assert rows("SELECT count(*), sum(current_total)::text FROM raw_shopify.orders") == [
        (60, "1860.0000")
    ]
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(120,)]
    assert rows("SELECT sum(order_count) FROM raw_shopify.customer_statistics") == [(60,)]
    assert world.mismatches() == 0
    world.sync(SyncKind.INCREMENTAL)
    assert rows("SELECT state FROM raw_shopify.sync_runs") == [("completed",)] * 2


@pytest.fixture
def receiver(world: World) -> Iterator[str]:
    """An HTTP server that hands every webhook to the inbox; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = receive(
                world.factory,
                headers=dict(self.headers),
                body=body,
                settings=world.settings,
                clock=SystemClock(),
            )
            self.send_response(answer.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/webhooks/shopify"
    server.shutdown()
    thread.join()
    server.server_close()


def eventually(
    rows: Rows,
    sql: str,
    expected: list[tuple[object, ...]],
    *,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    deadline = time.monotonic() + 30
    while rows(sql) != expected:
        assert time.monotonic() < deadline, rows(sql)
        meanwhile()
        time.sleep(0.05)


@pytest.mark.requirement("SHOP-04", "SHOP-05", "SHOP-06", "RFM-04")
def test_an_order_comes_by_signed_webhook_and_its_consent_by_asking(
    world: World, receiver: str, rows: Rows
) -> None:
    world.sync()
    assert register_webhooks(world.client, receiver).refused == {}
    assert register_webhooks(world.client, receiver).created == 0
    buyer = {"email": "ada@example.com", "first_name": "Ada", "consent": "SUBSCRIBED"}
    placed = world.sandbox(
        "/orders", {"customer": buyer, "total": "49.90", "webhook": {"copies": 3}}
    )
    number = int(str(placed["customer"]).rpartition("/")[2])
    found = f"SELECT email, consent_state FROM raw_shopify.customers WHERE customer_id = {number}"
    eventually(rows, found, [("ada@example.com", None)])
    # A webhook that is just being applied may hold the request: then the next round reads it.
    eventually(rows, found, [("ada@example.com", "SUBSCRIBED")], meanwhile=world.refresh)
    statistics_row = (
        "SELECT order_count, total_spent::text FROM raw_shopify.customer_statistics"
        f" WHERE customer_id = {number}"
    )
    eventually(rows, statistics_row, [(1, "49.9000")])
    order = int(str(placed["order"]).rpartition("/")[2])
    world.sandbox(f"/orders/{order}/refund", {})
    asked = "SELECT object_id FROM raw_shopify.refresh_requests WHERE object_type = 'Order'"
    eventually(rows, asked, [(order,)])
    updates = "SELECT count(*) FROM raw_shopify.webhook_inbox WHERE topic = 'orders/updated'"
    eventually(rows, updates, [(1,)])
    eventually(rows, statistics_row, [(0, "0.0000")], meanwhile=world.refresh)
    assert world.mismatches() == 0
    states = "SELECT topic, state, count(*) FROM raw_shopify.webhook_inbox GROUP BY 1, 2 ORDER BY 1"
    assert ("orders/create", "applied", 1) in rows(states)
    assert {state for _, state, _ in rows(states)} == {"applied"}
