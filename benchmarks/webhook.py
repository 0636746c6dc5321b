"""Signed order webhooks into Postgres, against a handler that answers 200 and does nothing.

floor: FastAPI under uvicorn, one process. ours: the web app, one process, durable commits, each
delivery stored, applied with its customer's statistics, and answered after the commit. The same
2.2 KB requests over 32 connections from another process, in turn, medians. Then 20 % of them twice
and all in another order must end in the same rows as one ordered pass (`wrong_rows`).

ECOMCRM_BENCH_QUICK=1 takes one round of fewer.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from pydantic import SecretStr

from benchmarks.ingest import _database as database
from benchmarks.webhook_data import DOMAIN, SECRET, deliveries, framed, request
from core.paths import PROJECT_ROOT
from core.secrets import SecretBox
from ops.ports import pick_free
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
DELIVERIES = 4_000 if IS_QUICK else 20_000
CHECKED = 2_000 if IS_QUICK else 8_000
CUSTOMERS = 4_000
ROUNDS = 1 if IS_QUICK else 3
CONNECTIONS = 32
PATIENCE_SECONDS = 30.0
KEY = "0123456789abcdef0123456789abcdef"
HELD = {
    "orders": "order_id, customer_id, updated_at, source_name, financial_status, current_total,"
    " refunded_total",
    "order_lines": "line_id, order_id, product_id, quantity, unit_price",
    "refunds": "refund_id, order_id, processed_at, amount",
    "customers": "customer_id, email, first_name, last_name, created_at, updated_at",
    "customer_statistics": "customer_id, order_count, total_spent, first_order_at, last_order_at",
}


def run() -> dict[str, object]:
    """Deliveries per second, medians of ROUNDS rounds."""
    progress = Progress()
    with database() as (url, folder):
        _connect_shop(url)
        environment = _environment(url, folder)
        with (
            _server(["benchmarks.webhook_bare"], {}) as bare,
            _server(["webapp", "--port"], environment) as ours,
        ):
            rounds = _rounds(folder, bare, ours, progress)
            wrong = _wrong_rows(url, folder, ours)
            applied = _states(url)
    return _result(rounds) | {"wrong_rows": wrong, "states": applied}


def _rounds(folder: Path, bare: int, ours: int, progress: Progress) -> list[dict[str, Any]]:
    rounds = []
    for number in range(-1, ROUNDS):
        count = DELIVERIES if number >= 0 else DELIVERIES // 10  # the first warms up
        made = deliveries(count, first=10_000_000 * (number + 2), customers=CUSTOMERS, seed=number)
        file = _write(folder, made)
        measured = {"floor": _load(file, bare), "ours": _load(file, ours)}
        progress.say(f"round {number + 1}: {json.dumps(measured)}")
        if number >= 0:
            rounds.append(measured)
    return rounds


def _result(rounds: list[dict[str, Any]]) -> dict[str, object]:
    def median(name: str, what: str) -> float:
        values: list[float] = [one[name][what] for one in rounds]
        return round(statistics.median(values), 2)

    ours, floor = median("ours", "rate"), median("floor", "rate")
    return {
        "n": DELIVERIES,
        "repeats": ROUNDS,
        "value": round(ours),
        "unit": "deliveries/s",
        "floor": round(floor),
        "ratio": round(
            statistics.median(o["ours"]["rate"] / o["floor"]["rate"] for o in rounds), 3
        ),
        "peer": None,
        "peer_ratio": None,
        "p50_ms": median("ours", "p50_ms"),
        "p99_ms": median("ours", "p99_ms"),
        "floor_p99_ms": median("floor", "p99_ms"),
    }


def _wrong_rows(url: str, folder: Path, port: int) -> int:
    """Rows that differ between an ordered pass and one shuffled, with a fifth of it repeated."""
    made = deliveries(CHECKED, first=900_000_000, customers=CUSTOMERS // 8, seed=99)
    ended = []
    for is_shuffled in (False, True):
        _empty(url)
        told = list(made)
        if is_shuffled:
            drawn = random.Random(7)
            told += drawn.sample(made, len(made) // 5)
            drawn.shuffle(told)
        connections = CONNECTIONS if is_shuffled else 1
        _load(_write(folder, told), port, connections=connections)
        ended.append(_rows(url))
    ordered, shuffled = ended
    return sum(len(ordered[table] ^ shuffled[table]) for table in HELD)


def _load(file: Path, port: int, *, connections: int = CONNECTIONS) -> dict[str, Any]:
    arguments = [str(file), str(port), str(connections)]
    command = [sys.executable, "-m", "benchmarks.webhook_load", *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    said: dict[str, Any] = json.loads(done.stdout)
    assert set(said["statuses"]) == {"200"}, said["statuses"]
    return said


def _write(folder: Path, made: list[tuple[str, str, bytes]]) -> Path:
    path = folder / "requests"
    path.write_bytes(framed(request(*one) for one in made))
    return path


def _connect_shop(url: str) -> None:
    secret = SecretBox(SecretStr(KEY)).encrypt(SECRET)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id,"
            " client_secret_encrypted) VALUES (%s, 'Bench', 'EUR', 'UTC', 'c', %s)",
            (DOMAIN, secret),
        )


def _empty(url: str) -> None:
    names = ", ".join(f"raw_shopify.{name}" for name in (*HELD, "webhook_inbox"))
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE {names}, raw_shopify.refresh_requests".encode())


def _rows(url: str) -> dict[str, set[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return {
            table: set(connection.execute(f"SELECT {columns} FROM raw_shopify.{table}".encode()))
            for table, columns in HELD.items()
        }


def _states(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT state, count(*) FROM raw_shopify.webhook_inbox GROUP BY state"
        )
        return dict(found.fetchall())


def _environment(url: str, folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "ECOMCRM_SECRET_KEY": KEY,
        "ECOMCRM_HOME": str(folder),
        "ECOMCRM_LOG_LEVEL": "WARNING",
    }


@contextmanager
def _server(arguments: list[str], environment: dict[str, str]) -> Iterator[int]:
    """One process that listens; yields its port."""
    port = pick_free()
    command = [sys.executable, "-m", *arguments, str(port)]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=dict(os.environ) | environment)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "a server of the benchmark has ended"
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("a server of the benchmark does not listen")
