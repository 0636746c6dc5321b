"""A burst of the provider's events, stored and not yet applied, until all have found their mail.

value: events matched a second by `match_stored`, in chunks: half of them deliveries, the rest sent,
opened, clicked (judged), bounced (suppressed, into the ledger) and complained about. floor: the
same events and their messages changed by one plain statement of SQL per chunk that judges nothing.
`one_by_one`: the same burst with chunks of one event, as it was before.

ECOMCRM_BENCH_QUICK=1 takes a tenth of the events.
"""

import os
import statistics
import time
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text

from activation.events import match_stored
from benchmarks.delivery_processes import connected
from benchmarks.delivery_world import add_shop
from benchmarks.ingest import _database as database
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
ROUNDS: Final = 2 if IS_QUICK else 3
EVENTS: Final = 10_000 if IS_QUICK else 100_000
ONE_BY_ONE: Final = 300
CHUNK: Final = 1000
NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)

MESSAGES = """
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, email, state, due_at, expires_at,
    queued_at, sent_at
)
SELECT
    :shop_id, 'bench/' || number, 1, 1, 'mail', 'c' || number || '@example.com', 'sent', :now, :now,
    :now, :now
FROM generate_series(1, :count) AS number
"""
STORE = """
INSERT INTO crm.delivery_events (provider, event_id, event_type, occurred_at, state, body)
SELECT
    'resend',
    'burst-' || :burst || '-' || row_number() OVER (),
    kinds.event_type,
    :now,
    'stored',
    jsonb_build_object(
        'type', kinds.event_type,
        'data', jsonb_build_object(
            'email_id', 'mail-' || messages.message_id,
            'to', jsonb_build_array(messages.email),
            'tags', jsonb_build_object(
                'shop_id', CAST(:shop_id AS text),
                'send_id', CAST(messages.message_id AS text)
            ),
            'bounce', jsonb_build_object('type', 'Permanent', 'message', 'no such box'),
            'click', jsonb_build_object(
                'link', 'https://shop.example/' || messages.message_id, 'ipAddress', '192.0.2.1',
                'userAgent', 'Mozilla/5.0 (iPhone)', 'timestamp', '2026-11-20T13:00:00Z'
            )
        )
    )
FROM crm.messages
CROSS JOIN LATERAL (
    SELECT unnest(
        CASE
            WHEN messages.message_id % 50 = 0 THEN ARRAY['email.sent', 'email.bounced']
            WHEN messages.message_id % 500 = 1 THEN ARRAY['email.delivered', 'email.complained']
            WHEN messages.message_id % 5 = 2 THEN ARRAY['email.delivered', 'email.clicked']
            WHEN messages.message_id % 5 = 3 THEN ARRAY['email.delivered', 'email.opened']
            ELSE ARRAY['email.sent', 'email.delivered']
        END
    ) AS event_type
) AS kinds
WHERE messages.shop_id = :shop_id AND messages.dedupe_key LIKE 'bench/%'
LIMIT :limit
"""
FLOOR = """
WITH claimed AS (
    SELECT provider, event_id, body, occurred_at
    FROM crm.delivery_events
    WHERE state = 'stored'
    ORDER BY received_at
    LIMIT :chunk
    FOR UPDATE SKIP LOCKED
),
moved AS (
    UPDATE crm.messages
    SET state = 'delivered', delivered_at = claimed.occurred_at
    FROM claimed
    WHERE messages.shop_id = CAST(claimed.body #>> '{data,tags,shop_id}' AS integer)
        AND messages.message_id = CAST(claimed.body #>> '{data,tags,send_id}' AS bigint)
    RETURNING 1
)
UPDATE crm.delivery_events
SET
    state = 'matched',
    shop_id = CAST(claimed.body #>> '{data,tags,shop_id}' AS integer),
    message_id = CAST(claimed.body #>> '{data,tags,send_id}' AS bigint)
FROM claimed
WHERE delivery_events.provider = claimed.provider AND delivery_events.event_id = claimed.event_id
RETURNING 1
"""
CLEAR = (
    "DELETE FROM crm.engagements",
    "DELETE FROM crm.sending_holds",
    "DELETE FROM crm.send_paces",
    "DELETE FROM crm.suppressions",
    "DELETE FROM crm.delivery_events",
)


def run() -> dict[str, object]:
    """Events per second, medians of ROUNDS bursts."""
    progress = Progress()
    ours: list[float] = []
    floors: list[float] = []
    with database() as (url, _), connected(url) as (_, factory):
        with session_scope(factory) as session:
            shop_id = add_shop(session, now=NOW)
            values = {"shop_id": shop_id, "now": NOW, "count": EVENTS // 2}
            session.execute(text(MESSAGES), values)
        for number in range(ROUNDS):
            store(factory, shop_id, EVENTS, burst=f"ours {number}")
            ours.append(EVENTS / matched(factory, EVENTS, CHUNK))
            store(factory, shop_id, EVENTS, burst=f"floor {number}")
            floors.append(EVENTS / applied_plainly(factory))
            progress.say(f"burst {number + 1}: {ours[-1]:,.0f} events/s, floor {floors[-1]:,.0f}")
        store(factory, shop_id, ONE_BY_ONE, burst="single")
        single = ONE_BY_ONE / matched(factory, ONE_BY_ONE, 1)
    value, floor = statistics.median(ours), statistics.median(floors)
    return {
        "n": EVENTS,
        "repeats": ROUNDS,
        "value": round(value),
        "unit": "events/s",
        "one_by_one": round(single),
        "floor": round(floor),
        "ratio": round(value / floor, 3),
        "peer": None,
        "peer_ratio": None,
    }


def store(factory: SessionFactory, shop_id: int, count: int, *, burst: str) -> None:
    """As many events as a web process leaves that only stores them; the last burst is gone."""
    with session_scope(factory) as session:
        session.execute(text("TRUNCATE crm.consent_events"))
        for statement in CLEAR:
            session.execute(text(statement))
        session.execute(
            text("UPDATE crm.messages SET state = 'sent', delivered_at = NULL, finished_at = NULL")
        )
        values = {"shop_id": shop_id, "now": NOW, "burst": burst, "limit": count}
        session.execute(text(STORE), values)
    with session_scope(factory) as session:
        session.execute(text("ANALYZE crm.messages, crm.delivery_events"))


def matched(factory: SessionFactory, count: int, chunk: int) -> float:
    """Seconds until all are matched."""
    clock, done, began = MovableClock(NOW), 0, time.perf_counter()
    while done < count:
        found = match_stored(factory, clock=clock, limit=chunk).matched
        assert found, f"{count - done} events found no mail"
        done += found
    return time.perf_counter() - began


def applied_plainly(factory: SessionFactory) -> float:
    began = time.perf_counter()
    while True:
        with session_scope(factory) as session:
            if not session.execute(text(FLOOR), {"chunk": CHUNK}).all():
                return time.perf_counter() - began
