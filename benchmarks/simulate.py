"""`python -m benchmarks.simulate`: plays months of a shop with all flows on; one JSON line.

The shop lives in the sandbox, the product works hour by hour at the same clock, and the sandbox
says from its own store what was owed (docs/sandbox.md). Exits with 1 if a mail was missed, doubled
or forbidden, or if a flow owed none, so that nothing was tried. With `--sabotage` something is
broken on purpose, and it must exit with 1.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from activation.automation.presets import PRESETS
from benchmarks.rfm_build import MARK, NOW, build
from core.database import make_engine, make_session_factory
from core.migrate import upgrade
from core.settings import Settings
from ops.postgres import throwaway_postgres
from ops.progress import Progress
from ops.schema_file import ensure_schema_file
from sandbox.shopify.schema import load_schema
from tests.fixtures.marts import libpq_url
from tests.simulation.played import a_played_shop
from tests.simulation.sabotage import SABOTAGES

# Summer time ends in the middle of it, in Berlin.
BEGIN = datetime(2026, 8, 15, 6, tzinfo=UTC)
WEEK = 7


def simulate(
    *, days: int, seed: int, per_hour: float, progress: Progress, sabotage: str | None = None
) -> dict[str, Any]:
    """The figures, and `details` of what is wrong."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ecomcrm-simulate-") as name,
        throwaway_postgres() as on,
    ):
        folder = Path(name)
        url = _database(on)
        boundaries = _boundaries(libpq_url(url), folder)
        engine = make_engine(url, pool_size=10)

        def compute(rfm_run_id: str, as_of: datetime) -> None:
            with psycopg.connect(libpq_url(url)) as connection:
                connection.execute(boundaries, {"rfm_run_id": rfm_run_id, "as_of": as_of})

        with a_played_shop(
            schema=load_schema(ensure_schema_file(folder)),
            folder=folder,
            factory=make_session_factory(engine),
            settings=_settings(url, folder),
            compute_boundaries=compute,
            begin=BEGIN,
            seed=seed,
            per_hour=per_hour,
            sabotage=sabotage,
        ) as played:
            for day in range(days):
                played.play(days=1)
                if day % WEEK == 0:
                    progress.say(f"{played.clock.now():%Y-%m-%d}: day {day + 1} of {days}")
            verdict = played.verdict().report()
        engine.dispose()
    return {"days": days, **verdict, "seconds": round(time.monotonic() - began, 1)}


def _database(admin_url: str) -> str:
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE played")
    admin.dispose()
    url = make_url(admin_url).set(database="played").render_as_string(hide_password=False)
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


def _boundaries(url: str, folder: Path) -> str:
    """What dbt compiled for a first run, its values turned into parameters."""
    sql = build(url, folder / "dbt").replace("%", "%%")
    for literal, parameter in ((MARK, "%(rfm_run_id)s::text"), (NOW.isoformat(), "%(as_of)s")):
        sql = sql.replace(f"'{literal}'", parameter)
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE marts.rfm_boundaries")
    return f"INSERT INTO marts.rfm_boundaries\n{sql}\nON CONFLICT DO NOTHING"


def _settings(url: str, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": url,
            "ECOMCRM_SECRET_KEY": "0123456789abcdef0123456789abcdef",
            "ECOMCRM_HOME": str(folder),
            "ECOMCRM_PUBLIC_URL": "http://127.0.0.1:8400",
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate")
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-hour", type=float, default=0.5, help="what happens in an hour")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="break something on purpose")
    asked = parser.parse_args()
    progress = Progress()
    figures = simulate(**vars(asked), progress=progress)
    details, by_flow = figures.pop("details"), figures.pop("by_flow")
    for detail in details[:20]:
        when = datetime.fromtimestamp(detail["at"], UTC)
        progress.say(
            f"{detail['kind']} {detail['flow']} {detail['customer']} {when} {detail['reason']}"
        )
    progress.say(f"Owed by flow: {by_flow}")
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if holds(figures, by_flow) else 1


def holds(figures: dict[str, Any], by_flow: dict[str, int]) -> bool:
    """Whether nothing is wrong, and every flow owed somebody something."""
    is_right = not any(figures[name] for name in ("twice", "missed", "forbidden"))
    return is_right and all(by_flow.get(preset.key) for preset in PRESETS)


if __name__ == "__main__":
    raise SystemExit(main())
