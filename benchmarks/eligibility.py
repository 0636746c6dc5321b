"""Deciding on a hundred mails that are about to be frozen, in a ledger of a million.

value: turns at the addresses, all facts and all decisions, in one transaction, per hundred mails.
floor: the same customers and the mails to their addresses read by plain SQL, in one statement that
decides nothing. `decide_us`: one decision of facts already read. `pages`: of the database touched
while counting, per mail; `small_pages` the same at a tenth of the ledger, so a scan would show.

ECOMCRM_BENCH_QUICK=1 takes a tenth of the ledger and fewer rounds.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from activation.automation.presets import seed_presets
from activation.eligibility import Send, Stage, Subject, decide, decide_all, load_facts
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.migrate import upgrade
from core.models import Shop
from ops.postgres import throwaway_postgres
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
MESSAGES = 100_000 if IS_QUICK else 1_000_000
ROUNDS = 20 if IS_QUICK else 100
PEOPLE: Final = 50_000
BATCH: Final = 100
NOW: Final = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEY: Final = SecretStr("0123456789abcdef0123456789abcdef")

ADD_PEOPLE = """
INSERT INTO raw_shopify.customers (
    shop_id, customer_id, email, consent_state, consent_updated_at, created_at, updated_at
)
SELECT 1, n, 'customer.' || n || '@example.com', 'SUBSCRIBED', :now, :now, :now
FROM generate_series(1, :people) AS n
"""
# Sent a few seconds apart, back from a day ago, to everybody in turn.
ADD_MESSAGES = """
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, customer_id, email, priority, state,
    due_at, expires_at, queued_at, frozen_at, sent_at
)
SELECT
    1, 'old/' || n, 1, 1, 'mail', 1 + n % :people,
    'customer.' || 1 + n % :people || '@example.com', 40, 'sent', sent.at, sent.at, sent.at,
    sent.at, sent.at
FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
CROSS JOIN LATERAL (SELECT :now - interval '1 day' - n * interval '15 seconds' AS at) AS sent
"""
FLOOR = """
SELECT subject.key, customers.*, ARRAY(
    SELECT sent_at FROM crm.messages AS other
    WHERE other.shop_id = 1 AND lower(btrim(other.email)) = customers.email_normalized
        AND coalesce(other.sent_at, other.frozen_at) > :since
        AND other.state NOT IN ('skipped', 'failed')
)
FROM unnest(CAST(:keys AS bigint [])) AS subject (key)
INNER JOIN raw_shopify.customers ON customers.shop_id = 1 AND customers.customer_id = subject.key
"""


def run() -> dict[str, object]:
    """Milliseconds per hundred mails, medians of ROUNDS rounds."""
    progress = Progress()
    with _ledger() as (engine, factory):
        _fill(engine, 1, MESSAGES // 10)
        small_pages = _pages(factory)
        _fill(engine, MESSAGES // 10 + 1, MESSAGES)
        pages = _pages(factory)
        progress.say(f"{MESSAGES:,} messages are there")
        ours = [_ours(factory, at) for at in range(ROUNDS)]
        floor = [_floor(factory, at) for at in range(ROUNDS)]
        decide_us = _decide_us(factory)
    value, least = statistics.median(ours), statistics.median(floor)
    return {
        "n": MESSAGES,
        "repeats": ROUNDS,
        "value": round(value * 1000, 2),
        "unit": "ms",
        "floor": round(least * 1000, 2),
        "ratio": round(value / least, 2),
        "peer": None,
        "peer_ratio": None,
        "decide_us": round(decide_us, 1),
        "pages": round(pages / BATCH, 1),
        "small_pages": round(small_pages / BATCH, 1),
    }


@contextmanager
def _ledger() -> Iterator[tuple[Engine, SessionFactory]]:
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
                )
            )
            session.flush()
            seed_presets(session, 1, now=NOW)
            session.execute(text("UPDATE crm.automations SET is_active = true"))
            session.execute(text(ADD_PEOPLE), {"now": NOW, "people": PEOPLE})
        yield engine, factory
        engine.dispose()


def _fill(engine: Engine, first: int, last: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(ADD_MESSAGES), {"now": NOW, "people": PEOPLE, "first": first, "last": last}
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE crm.messages, raw_shopify.customers")


def _subjects(at: int) -> list[Subject]:
    first = at * BATCH % PEOPLE
    return [
        Subject(
            key=-number,  # of no message that is there
            customer_id=number,
            automation_id=1,
            order_id=None,
            expires_at=NOW + timedelta(days=3),
            due_at=NOW,
            priority=20,
        )
        for number in range(first + 1, first + BATCH + 1)
    ]


def _ours(factory: SessionFactory, at: int) -> float:
    subjects = _subjects(at)
    with session_scope(factory) as session:
        session.connection()
        started = time.perf_counter()
        decisions = decide_all(session, 1, subjects, secret_key=KEY, now=NOW, stage=Stage.FREEZE)
        took = time.perf_counter() - started
    # A day and more after the last mail to anybody, nobody has had four in a week.
    if not all(isinstance(each, Send) for each in decisions.values()):
        raise RuntimeError(f"{decisions} is not what a ledger like this one allows")
    return took


def _floor(factory: SessionFactory, at: int) -> float:
    keys = [subject.customer_id for subject in _subjects(at)]
    with session_scope(factory) as session:
        session.connection()
        started = time.perf_counter()
        session.execute(text(FLOOR), {"keys": keys, "since": NOW - timedelta(days=9)}).all()
        return time.perf_counter() - started


def _decide_us(factory: SessionFactory) -> float:
    with session_scope(factory) as session:
        facts = load_facts(
            session, 1, _subjects(0), secret_key=KEY, now=NOW, stage=Stage.FREEZE
        ).values()
    rounds = 50
    started = time.process_time()
    for _ in range(rounds):
        for each in facts:
            decide(each, now=NOW)
    return (time.process_time() - started) / rounds / len(facts) * 1e6


def _pages(factory: SessionFactory) -> int:
    """Of crm.messages and its indexes, read to load the facts of one batch."""
    with session_scope(factory) as session:
        before = _touched(session)
        load_facts(session, 1, _subjects(7), secret_key=KEY, now=NOW, stage=Stage.FREEZE)
        return _touched(session) - before


def _touched(session: Session) -> int:
    found: Any = session.execute(
        text("""
            SELECT sum(
                pg_stat_get_xact_blocks_fetched(pg_class.oid)
            )
            FROM pg_class
            WHERE pg_class.relname LIKE '%messages%'
        """)
    ).scalar_one()
    return int(found)
