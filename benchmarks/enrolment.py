"""Looking for moments among a million customers, and enrolling 100,000 of them.

value: one evaluation of everyone by all five presets, with nothing due. floor: counting, in the
same run, the open stays that began in the last day: they have no index on when they began (decision
25). Only after a full run they are read, `after_run_ms`. `enrolling`: seconds of enrolling 100,000
who entered a segment; `enrolling_floor`: as many bare rows written to the same table.

ECOMCRM_BENCH_QUICK=1 takes a tenth of both.
"""

import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from activation.automation.due import moments_due
from activation.automation.enrollment import enrol
from activation.automation.presets import PRESETS, seed_presets
from activation.automation.switching import switch_on
from activation.scoring import EVALUATE_ANEW
from core.database import make_engine, make_session_factory, session_scope
from core.migrate import upgrade
from core.models import Shop
from ops.postgres import throwaway_postgres

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
PEOPLE = 100_000 if IS_QUICK else 1_000_000
ENTERING = PEOPLE // 10
ROUNDS: Final = 5
NOW: Final = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

# Three orders each over three years, the last one at another time than everybody else's; nobody's
# silence gets long enough in the day that is looked at again.
ADD = """
INSERT INTO raw_shopify.customers (
    shop_id, customer_id, email, consent_state, created_at, updated_at
)
SELECT 1, n, 'c' || n || '@example.com', 'SUBSCRIBED', :now, :now
FROM generate_series(1, CAST(:people AS integer)) AS n;
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, created_at, updated_at, processed_at, is_test,
    financial_status, currency, current_total, original_total, refunded_total
)
SELECT 1, n * 3 + k, '#', n, at.it, at.it, at.it, false, 'PAID', 'EUR', 10, 10, 0
FROM generate_series(1, CAST(:people AS integer)) AS n
CROSS JOIN generate_series(0, 2) AS k
CROSS JOIN LATERAL (
    SELECT CAST(:now AS timestamptz) - interval '200 days'
        - make_interval(secs => (CAST(n AS bigint) * 7919 % 1000000) * 25 + k * 26000000) AS it
) AS at;
INSERT INTO raw_shopify.customer_statistics (
    shop_id, customer_id, order_count, total_spent, first_order_at, last_order_at
)
SELECT 1, customer_id, 3, 30, min(processed_at), max(processed_at)
FROM raw_shopify.orders GROUP BY customer_id;
INSERT INTO crm.segment_memberships (
    shop_id, customer_id, segment, previous_segment, entered_at, cause, r_score, f_score, m_score
)
SELECT 1, n,
    (ARRAY['champion', 'loyal', 'new', 'potential', 'at_risk', 'hibernating', 'lost'])[1 + n % 7],
    'potential', :now - interval '150 days', 'full_run', 3, 3, 3
FROM generate_series(1, CAST(:people AS integer)) AS n;
"""
FLOOR = """
SELECT count(*) FROM crm.segment_memberships
WHERE shop_id = 1 AND exited_at IS NULL AND entered_at >= :now - interval '1 day'
"""
ENTER = """
UPDATE crm.segment_memberships
SET segment = 'champion', previous_segment = 'loyal', entered_at = :now
WHERE shop_id = 1 AND customer_id <= :entering
"""
BARE = """
INSERT INTO crm.enrollments (
    shop_id, automation_id, version, customer_id, entry_key, moment_at, state, due_at, enrolled_at
)
SELECT 1, (SELECT min(automation_id) FROM crm.automations), 1, n, 'floor', :now, 'active', :now,
    :now
FROM generate_series(1, CAST(:entering AS integer)) AS n
"""


def run() -> dict[str, object]:
    """Milliseconds of an evaluation, median of ROUNDS."""
    with throwaway_postgres() as admin_url:
        admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE bench")
        admin.dispose()
        url = make_url(admin_url).set(database="bench")
        engine = make_engine(url.render_as_string(hide_password=False))
        upgrade(engine)
        factory = make_session_factory(engine)
        with session_scope(factory) as session:
            _fill(session)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        with session_scope(factory) as session:
            _evaluate(session, 0)
            value = statistics.median(_evaluate(session, 0) for _ in range(ROUNDS))
            floor = statistics.median(_timed(session, FLOOR) for _ in range(ROUNDS))
            started = time.perf_counter()
            is_due = moments_due(session, now=NOW)
            looking = time.perf_counter() - started
        if is_due:
            raise RuntimeError("something was due that is not")
        with session_scope(factory) as session:
            session.execute(EVALUATE_ANEW, {"shop_id": 1})
            after_run = _evaluate(session, 0)
            session.execute(text(ENTER), {"now": NOW, "entering": ENTERING})
            session.execute(EVALUATE_ANEW, {"shop_id": 1})
        with session_scope(factory) as session:
            enrolling = _evaluate(session, ENTERING)
            bare = _timed(session, BARE)
        engine.dispose()
    return {
        "n": PEOPLE,
        "repeats": ROUNDS,
        "value": round(value * 1000, 1),
        "unit": "ms",
        "floor": round(floor * 1000, 1),
        "ratio": round(value / floor, 2),
        "peer": None,
        "peer_ratio": None,
        "due_ms": round(looking * 1000, 1),
        "after_run_ms": round(after_run * 1000, 1),
        "enrolling": round(enrolling, 2),
        "enrolling_n": ENTERING,
        "enrolling_floor": round(bare, 2),
    }


def _fill(session: Session) -> None:
    long_ago = NOW - timedelta(days=100)
    session.add(
        Shop(
            domain="bench.myshopify.com",
            name="Bench",
            currency="EUR",
            time_zone="Europe/Berlin",
            client_id="id",
            client_secret_encrypted="x",  # noqa: S106 - Shopify is not asked
            first_sync_started_at=long_ago,
            first_sync_completed_at=long_ago,
            baseline_at=long_ago,
        )
    )
    session.flush()
    seed_presets(session, 1, now=long_ago)
    for preset in PRESETS:
        switch_on(session, 1, preset.key, now=long_ago, include_silent=False)
    for statement in ADD.split(";\n"):
        if statement.strip():
            bound = {"now": NOW, "people": PEOPLE}
            used = {name: each for name, each in bound.items() if f":{name}" in statement}
            session.execute(text(statement), used)


def _evaluate(session: Session, entering: int) -> float:
    started = time.perf_counter()
    report = enrol(session, 1, customer_ids=None, now=NOW, run_id=None)
    took = time.perf_counter() - started
    if report.enrolled != entering:
        raise RuntimeError(f"{report} is not {entering} entries")
    return took


def _timed(session: Session, statement: str) -> float:
    bound = {"now": NOW, "entering": ENTERING}
    used = {name: each for name, each in bound.items() if f":{name}" in statement}
    started = time.perf_counter()
    session.execute(text(statement), used)
    return time.perf_counter() - started
