"""A shop of many buyers, the scoring part of the dbt project over it, and a night's run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.ingest import _database as cluster
from benchmarks.rfm_data import fill
from core.database import SessionFactory, make_engine, make_session_factory
from core.dbt import EXECUTABLE, dbt_environment
from core.paths import DBT_PROJECT, PROJECT_ROOT
from ops.progress import Progress

SHOP_ID: Final = 1
NOW: Final = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SCORES: Final = ("+customers", "+customer_rfm", "+customer_segments")
MARK: Final = "compiled-run"
DRIVER: Final = "postgresql+psycopg:"
KEY: Final = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Town:
    """One database with one shop; `boundaries` is the compiled SQL of a run."""

    url: str
    folder: Path
    customers: int
    boundaries: str

    def factory(self) -> SessionFactory:
        return make_session_factory(make_engine(self.url.replace("postgresql:", DRIVER)))

    def compute_boundaries(self, connection: psycopg.Connection, rfm_run_id: str) -> None:
        """As dbt does it: a temporary table, then the insert."""
        sql = self.boundaries.replace(f"'{MARK}'", f"'{rfm_run_id}'")
        connection.execute(
            f"CREATE TEMPORARY TABLE new_boundaries ON COMMIT DROP AS {sql}".encode()
        )
        connection.execute("INSERT INTO marts.rfm_boundaries SELECT * FROM new_boundaries")

    def run_job(self) -> float:
        """Seconds of the process of one full run, from its start to its end."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        home.chmod(0o700)
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        environment = {
            "DATABASE_URL": self.url,
            "ECOMCRM_SECRET_KEY": KEY,
            "ECOMCRM_HOME": str(home),
            "DAGSTER_HOME": str(home),
        }
        job = ["-m", "orchestration.platform.definitions", "-j", "score_customers"]
        command = [sys.executable, "-m", "dagster", "job", "execute", *job]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        assert done.returncode == 0, done.stderr[-3000:]
        return seconds


@contextmanager
def towns(sizes: list[int], progress: Progress) -> Iterator[list[Town]]:
    """A durable cluster with a database for each size, filled and with the views of the project."""
    with cluster() as (url, folder):
        urls = {size: f"{url}_{size}" for size in sizes}
        with psycopg.connect(url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as connection:
            for size in sizes:
                connection.execute(f"CREATE DATABASE bench_{size} TEMPLATE bench".encode())
        made = []
        for size, own in urls.items():
            with psycopg.connect(own) as connection:
                fill(connection, size)
            made.append(Town(own, folder, size, build(own, folder / f"dbt_{size}")))
            progress.say(f"{size} customers are there")
        yield made


def build(url: str, target: Path) -> str:
    """The views, with the boundaries of a first run that nobody accepted; that run's SQL."""
    variables = {"rfm_run_id": MARK, "as_of": NOW.isoformat()}
    where = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    command = [
        *(str(EXECUTABLE), "--quiet", "--no-use-colors", "build", "--select", *SCORES),
        *("--exclude-resource-type", "test", "unit_test", "--vars", json.dumps(variables)),
        *(*where, "--target-path", str(target), "--log-path", str(target / "logs")),
    ]
    done = subprocess.run(
        command,
        env=os.environ | dbt_environment(url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sql = target / "compiled" / "ecomcrm" / "models" / "marts" / "rfm_boundaries.sql"
    return sql.read_text()
