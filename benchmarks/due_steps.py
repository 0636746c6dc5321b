"""Finding 500 due enrolments of a shop in which millions are over.

value: claiming them: found by their index, locked, with the versions they follow. floor: the same
rows found and locked by plain SQL that reads nothing else of them. `nothing`: the look-up behind
the sensor when nothing is due. `step`: all that a round of steps does for 500, per enrolment.
`pages`: of enrolments and their index, read to find 500; `small_pages` the same at a tenth of the
enrolments that are over: a scan would show. `drained`: the last of 40 rounds in a row against the
first: what earlier rounds leave behind in the index costs nothing.

`make bench ONLY=due_steps ECOMCRM_BENCH_ENROLMENTS=10000000` takes ten million.
ECOMCRM_BENCH_QUICK=1 takes a tenth.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from activation.automation.claiming import CLAIM_DUE, claim
from activation.automation.presets import WELCOME, seed_presets
from activation.automation.steps import run_due_steps
from activation.work import steps_due
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.migrate import upgrade
from core.models import Shop
from ops.postgres import throwaway_postgres
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
OVER = int(os.environ.get("ECOMCRM_BENCH_ENROLMENTS", "1000000")) // (10 if IS_QUICK else 1)
WAITING: Final = 100_000
DUE: Final = 40_000
LIMIT: Final = 500
ROUNDS = 10 if IS_QUICK else 50
DRAINS: Final = 40
NOW: Final = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEY: Final = SecretStr("0123456789abcdef0123456789abcdef")

ADD_PEOPLE = """
INSERT INTO raw_shopify.customers (
    shop_id, customer_id, email, consent_state, consent_updated_at, created_at, updated_at
)
SELECT 1, n, 'customer.' || n || '@example.com', 'SUBSCRIBED', :now, :now, :now
FROM generate_series(1, :people) AS n
"""
# Those that are over have been in other flows long ago; each customer has several.
ADD_OVER = """
INSERT INTO crm.enrollments (
    shop_id, automation_id, version, customer_id, entry_key, moment_at, state, step_position,
    enrolled_at, finished_at
)
SELECT 1, 1, 1, 1 + n % 1000000, 'over/' || n, :now - interval '90 days',
    (ARRAY['completed', 'completed', 'exited', 'too_late'])[1 + n % 4], 2,
    :now - interval '90 days', :now - interval '80 days'
FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
"""
ADD_ACTIVE = """
INSERT INTO crm.enrollments (
    shop_id, automation_id, version, customer_id, entry_key, moment_at, state, step_position,
    due_at, enrolled_at
)
SELECT 1, :automation_id, 1, n, 'first', :now - interval '1 hour', 'active', 1,
    CAST(:due_at AS timestamptz) + n * interval '1 millisecond', :now - interval '1 hour'
FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
"""
# All rows name a version that is there; looking it up ten million times would say nothing.
DROP_REFERENCES = """
DO $$
DECLARE reference text;
BEGIN
    FOR reference IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = 'crm.enrollments'::regclass AND contype = 'f'
    LOOP
        EXECUTE format('ALTER TABLE crm.enrollments DROP CONSTRAINT %%I', reference);
    END LOOP;
END $$
"""
FLOOR = """
SELECT enrollment_id, customer_id, automation_id FROM crm.enrollments
WHERE shop_id = 1 AND state = 'active' AND due_at <= :now
ORDER BY due_at, enrollment_id LIMIT 500 FOR UPDATE SKIP LOCKED
"""


def run() -> dict[str, object]:
    """Milliseconds per 500, medians of ROUNDS rounds."""
    progress = Progress()
    with _shop() as (engine, factory):
        _add_over(engine, 1, OVER // 10)
        small_pages = _pages(_explain(factory))
        _add_over(engine, OVER // 10 + 1, OVER)
        progress.say(f"{OVER:,} enrolments are over")
        scan = _explain(factory)
        ours = _median(factory, _claim)
        floor = _median(factory, _floor)
        nothing = _median(factory, _look)
        rounds = [_round(factory) for _ in range(DRAINS)]
    return {
        "n": OVER,
        "repeats": ROUNDS,
        "value": round(ours * 1000, 2),
        "unit": "ms",
        "floor": round(floor * 1000, 2),
        "ratio": round(ours / floor, 2),
        "peer": None,
        "peer_ratio": None,
        "nothing_ms": round(nothing * 1000, 3),
        "step_us": round(statistics.median(rounds) / LIMIT * 1e6, 1),
        "drained": round(statistics.median(rounds[-5:]) / statistics.median(rounds[:5]), 2),
        "pages": _pages(scan),
        "small_pages": small_pages,
        "plan": f"{scan['Node Type']} on {scan['Index Name']}",
    }


@contextmanager
def _shop() -> Iterator[tuple[Engine, SessionFactory]]:
    with throwaway_postgres() as admin_url:
        admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE bench")
        admin.dispose()
        url = make_url(admin_url).set(database="bench")
        engine = make_engine(url.render_as_string(hide_password=False))
        upgrade(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(DROP_REFERENCES)
        factory = make_session_factory(engine)
        with session_scope(factory) as session:
            session.add(
                Shop(
                    domain="bench.myshopify.com",
                    name="Bench",
                    currency="EUR",
                    time_zone="Europe/Berlin",
                    client_id="id",
                    client_secret_encrypted="x",  # noqa: S106 - Shopify is not asked
                    sender_address="hello@mail.example.com",
                    postal_address="Lange Reihe 12, 20099 Hamburg",
                    first_sync_completed_at=NOW,
                    baseline_at=NOW,
                )
            )
            session.flush()
            seed_presets(session, 1, now=NOW)
            session.execute(text("UPDATE crm.automations SET is_active = true"))
            session.execute(text(ADD_PEOPLE), {"now": NOW, "people": DUE})
            welcome: int = session.execute(
                text("SELECT automation_id FROM crm.automations WHERE key = :key"), {"key": WELCOME}
            ).scalar_one()
            hour = timedelta(hours=1)
            for first, last, due_at in (
                (1, DUE, NOW - hour),
                (DUE + 1, DUE + WAITING, NOW + hour),
            ):
                session.execute(
                    text(ADD_ACTIVE),
                    {
                        "automation_id": welcome,
                        "now": NOW,
                        "first": first,
                        "last": last,
                        "due_at": due_at,
                    },
                )
        yield engine, factory
        engine.dispose()


def _add_over(engine: Engine, first: int, last: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(ADD_OVER), {"now": NOW, "first": first, "last": last})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE crm.enrollments, raw_shopify.customers")


def _claim(session: Session) -> None:
    if len(claim(session, 1, now=NOW, limit=LIMIT)) != LIMIT:
        raise RuntimeError("not all that is due was found")


def _floor(session: Session) -> None:
    if len(session.execute(text(FLOOR), {"now": NOW}).all()) != LIMIT:
        raise RuntimeError("not all that is due was found")


def _look(session: Session) -> None:
    if steps_due(session, now=NOW - timedelta(days=1)):
        raise RuntimeError("something was due that is not")


def _median(factory: SessionFactory, work: Callable[[Session], None]) -> float:
    """Of rounds that are taken back, so that all find the same."""
    took = []
    for _ in range(ROUNDS):
        with session_scope(factory) as session:
            session.connection()
            started = time.perf_counter()
            work(session)
            took.append(time.perf_counter() - started)
            session.rollback()
    return statistics.median(took)


def _round(factory: SessionFactory) -> float:
    started = time.perf_counter()
    with session_scope(factory) as session:
        report = run_due_steps(session, 1, secret_key=KEY, now=NOW, run_id=None, limit=LIMIT)
    if report.queued != LIMIT:
        raise RuntimeError(f"{report} is not a mail for each")
    return time.perf_counter() - started


def _explain(factory: SessionFactory) -> dict[str, Any]:
    """How the claim reads enrolments, as Postgres did it."""
    with session_scope(factory) as session:
        plan: dict[str, Any] = session.execute(
            text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)\n{CLAIM_DUE.text}"),
            {"shop_id": 1, "now": NOW, "limit": LIMIT},
        ).scalar_one()[0]["Plan"]
        session.rollback()
    return next(node for node in _nodes(plan) if node.get("Relation Name") == "enrollments")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from _nodes(each)


def _pages(node: dict[str, Any]) -> int:
    pages: int = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    return pages
