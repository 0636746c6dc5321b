"""A bulk file of orders and line items into Postgres, against the least possible and against dlt.

floor: COPY of the ready file, in COPY's own text format, into the same unlogged tables. ours: the
same rows from Shopify's JSONL, by one process (`value`) and by two, the second a helper. end to
end: staged, upserted and with everyone's statistics, on a shop that is empty and on one that has
all of it. peer: dlt on a part of the same lines; its rate is compared. All in turn, in one run,
medians.

ECOMCRM_BENCH_QUICK=1 takes a tenth of the lines, one round, and leaves out the large file.
"""

import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ingest_data import write_orders
from core.database import make_engine
from core.migrate import upgrade
from core.paths import PROJECT_ROOT
from ops.accounts import service_account
from ops.databases import OWNER, prepare_databases
from ops.ports import LOOPBACK, pick_free
from ops.postgres import Cluster, run_cluster
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
ORDERS = 20_000 if IS_QUICK else 200_000
PEER_ORDERS = 5_000 if IS_QUICK else 50_000
ROUNDS = 1 if IS_QUICK else 3
LARGE = 5  # times the file
CHUNK = 64 * 2**10
SHOP = (
    "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, client_secret_encrypted)"
    " VALUES ('bench.myshopify.com', 'Bench', 'EUR', 'UTC', 'c', 's')"
)
FILLED = "orders, order_lines, refunds, customer_statistics, refresh_requests"


def run() -> dict[str, object]:
    """Rows per second, medians of ROUNDS rounds."""
    progress = Progress()
    with _database() as (url, folder):
        path, part = folder / "orders.jsonl", folder / "part.jsonl"
        lines = write_orders(path, ORDERS)
        peer_lines = write_orders(part, PEER_ORDERS, seed=2)
        progress.say(f"{lines} lines, {path.stat().st_size / 2**20:.0f} MiB")
        measured = _Measured(url, folder, path, part)
        measured.prepare()
        for number in range(ROUNDS):
            measured.round()
            progress.say(f"round {number + 1} of {ROUNDS}: {measured.last()}")
        large = None if IS_QUICK else measured.loader("stage", times=LARGE, processes=1)
    return measured.result(lines, peer_lines, large)


class _Measured:
    """Seconds of each thing measured, round by round."""

    def __init__(self, url: str, folder: Path, path: Path, part: Path) -> None:
        self.url = url
        self.folder = folder
        self.path = path
        self.part = part
        self.seconds: dict[str, list[float]] = {}
        self.memory: dict[str, float] = {}
        self.tables: dict[str, str] = {}

    def prepare(self) -> None:
        """The ready files, from the very rows that are measured."""
        self.tables = self.loader("stage", processes=1, keep=True)["tables"]
        with psycopg.connect(self.url) as connection:
            for name, table in self.tables.items():
                with (
                    self._ready(name).open("wb") as file,
                    connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy,
                ):
                    file.writelines(copy)
                like = f"CREATE UNLOGGED TABLE bench_{name} (LIKE {table})"
                connection.execute(like.encode())

    def round(self) -> None:
        self._note("floor", self._copy_ready())
        for name, processes in (("one", 1), ("two", 2)):
            said = self.loader("stage", processes=processes)
            self._note(name, said["seconds"])
            self._note(f"{name} cpu", said["cpu_seconds"])
            self.memory[name] = max(said["memory_mib"], self.memory.get(name, 0))
            if processes > 1:
                self.memory["helper"] = said["helper_memory_mib"]
        with psycopg.connect(self.url) as connection:
            for table in FILLED.split(", "):
                connection.execute(f"TRUNCATE raw_shopify.{table}".encode())
        for name, processes in (("first", 1), ("unchanged", 1), ("unchanged_two", 2)):
            self._note(name, self.loader("load", processes=processes)["seconds"])
        self._note("peer", self._peer())

    def last(self) -> str:
        return ", ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in self.seconds.items())

    def loader(self, what: str, **options: Any) -> dict[str, Any]:
        given = {"url": self.url, "path": str(self.path), **options}
        return _python("benchmarks.ingest_loader", what, json.dumps(given))

    def _copy_ready(self) -> float:
        with psycopg.connect(self.url) as connection:
            for name in self.tables:
                connection.execute(f"TRUNCATE bench_{name}".encode())
            connection.commit()
            began = time.perf_counter()
            for name in self.tables:
                copying = f"COPY bench_{name} FROM STDIN".encode()
                with (
                    self._ready(name).open("rb") as file,
                    connection.cursor().copy(copying) as copy,
                ):
                    while chunk := file.read(CHUNK):
                        copy.write(chunk)
            connection.commit()
            return time.perf_counter() - began

    def _peer(self) -> float:
        given = {"url": self.url, "path": str(self.part), "folder": str(self.folder / "dlt")}
        said = _python("benchmarks.ingest_peer", json.dumps(given), folder=self.folder)
        self._note("peer cpu", said["cpu_seconds"])
        return float(said["seconds"])

    def _ready(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def _note(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def result(
        self, lines: int, peer_lines: int, large: dict[str, Any] | None
    ) -> dict[str, object]:
        median = {name: statistics.median(found) for name, found in self.seconds.items()}
        rate = {name: lines / seconds for name, seconds in median.items()}
        peer = peer_lines / median["peer"]
        # Of the loading processes alone: what is left of the figures on a machine that is busy.
        cpu = {name: median[f"{name} cpu"] / lines * 1e6 for name in ("one", "two")}
        peer_cpu = median["peer cpu"] / peer_lines * 1e6
        return {
            "n": lines,
            "repeats": ROUNDS,
            "value": round(rate["one"]),
            "unit": "rows/s",
            "floor": round(rate["floor"]),
            "ratio": round(rate["one"] / rate["floor"], 2),
            "value_two_processes": round(rate["two"]),
            "ratio_two_processes": round(rate["two"] / rate["floor"], 2),
            "peer": round(peer),
            "peer_name": "dlt",
            "peer_n": peer_lines,
            "peer_ratio": round(rate["one"] / peer, 1),
            "peer_ratio_two_processes": round(rate["two"] / peer, 1),
            "end_to_end_first": round(rate["first"]),
            "end_to_end_unchanged": round(rate["unchanged"]),
            "end_to_end_unchanged_two_processes": round(rate["unchanged_two"]),
            "cpu_us_per_row": round(cpu["one"], 1),
            "cpu_us_per_row_two_processes": round(cpu["two"], 1),
            "peer_cpu_us_per_row": round(peer_cpu, 1),
            "memory_mib": round(self.memory["one"], 1),
            "memory_mib_two_processes": [round(self.memory[name], 1) for name in ("two", "helper")],
            "memory_mib_large": round(large["memory_mib"], 1) if large else None,
            "large_n": large["lines"] if large else None,
            "value_large": round(large["lines"] / large["seconds"]) if large else None,
        }


def _python(module: str, *arguments: str, folder: Path | None = None) -> dict[str, Any]:
    """Its one line of JSON. dlt neither reports home nor writes outside the folder."""
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    away = {"DLT_DATA_DIR": str(folder / "dlt"), "HOME": str(folder)} if folder else {}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | quiet | away,
    )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@contextmanager
def _database() -> Iterator[tuple[str, Path]]:
    """A durable cluster of our own with the product's tables, and a folder for files."""
    made = Path(tempfile.mkdtemp(prefix="ecomcrm-bench-pg-"))
    if account := service_account():
        os.chown(made, 0, account.gid)
    cluster = Cluster(made, pick_free(), secrets.token_hex(16))
    password = secrets.token_hex(16)
    try:
        cluster.create(sync=False)
        with (
            run_cluster(cluster, log=made / "log"),
            tempfile.TemporaryDirectory(prefix="ecomcrm-bench-") as folder,
        ):
            prepare_databases(
                cluster.conninfo(),
                owner_password=password,
                reader_password=password,
                owner_creates_databases=True,
            )
            server = f"postgresql://{OWNER}:{password}@{LOOPBACK}:{cluster.port}"
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE bench")
            url = f"{server}/bench"
            engine = make_engine(url.replace("postgresql:", "postgresql+psycopg:"))
            upgrade(engine)
            engine.dispose()
            with psycopg.connect(url) as connection:
                connection.execute(SHOP)
            yield url, Path(folder)
    finally:
        shutil.rmtree(made)
