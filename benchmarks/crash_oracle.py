"""What became of every message, counted at the stand-in and compared with our tables.

The stand-in's own store says what it accepted; who unsubscribed when is what the run wrote down.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson
from sqlalchemy import text

from core.database import SessionFactory, session_scope

READ_MESSAGES = text("""
-- Returns every message of the shop and how it stands. Changes nothing.
SELECT message_id, state FROM crm.messages WHERE shop_id = :shop_id
""")

READ_ATTEMPTS = text("""
-- Returns when the first attempt at each batch began. Changes nothing.
SELECT idempotency_key, first_attempt_at FROM crm.message_batches WHERE shop_id = :shop_id
""")

COUNT_OPEN = text("""
-- Returns how many messages are still on their way. Changes nothing.
SELECT count(*) FROM crm.messages WHERE shop_id = :shop_id AND state IN ('queued', 'frozen')
""")

TAKEN = ("sent", "delivered", "bounced", "complained")


@dataclass(frozen=True)
class Verdict:
    """Messages by what was wrong with them; everything but `accepted` and `skipped` has to be 0.

    `lost`: owed, and never accepted. `forbidden`: accepted although the address had unsubscribed
    before the first attempt at the batch. `misjudged`: our table says otherwise than the stand-in.
    """

    accepted: int
    skipped: int
    unknown: int
    duplicates: int
    lost: int
    forbidden: int
    misjudged: int
    states: dict[str, int] = field(default_factory=dict)


def on_their_way(factory: SessionFactory, shop_id: int) -> int:
    with session_scope(factory) as session:
        count: int = session.execute(COUNT_OPEN, {"shop_id": shop_id}).scalar_one()
    return count


def judge(
    factory: SessionFactory, shop_id: int, store: Path, unsubscribed: Mapping[int, datetime]
) -> Verdict:
    """`unsubscribed`: by message, an instant of the database at which it was surely committed."""
    accepted, keys = _accepted(store)
    with session_scope(factory) as session:
        rows = session.execute(READ_MESSAGES, {"shop_id": shop_id}).all()
        attempts = session.execute(READ_ATTEMPTS, {"shop_id": shop_id}).all()
    states = {row.message_id: row.state for row in rows}
    began = {row.idempotency_key: row.first_attempt_at for row in attempts}
    return Verdict(
        accepted=sum(accepted.values()),
        skipped=sum(state == "skipped" for state in states.values()),
        unknown=sum(state == "unknown" for state in states.values()),
        duplicates=sum(times - 1 for times in accepted.values()),
        lost=sum(state != "skipped" and id_ not in accepted for id_, state in states.items()),
        forbidden=sum(
            any((start := began.get(key)) is not None and at < start for key in keys.get(id_, ()))
            for id_, at in unsubscribed.items()
        ),
        misjudged=sum((id_ in accepted) != (state in TAKEN) for id_, state in states.items()),
        states=dict(Counter(states.values())),
    )


def _accepted(store: Path) -> tuple[Counter[int], dict[int, list[str]]]:
    """How often each message was accepted, and in which requests."""
    times: Counter[int] = Counter()
    keys: dict[int, list[str]] = {}
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        for key, body in db.execute("SELECT idempotency_key, body FROM emails"):
            tags = {tag["name"]: tag["value"] for tag in orjson.loads(body)["tags"]}
            message_id = int(tags["send_id"])
            times[message_id] += 1
            keys.setdefault(message_id, []).append(key)
    return times, keys
