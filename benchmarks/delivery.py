"""Messages in the queue → accepted by a provider without a limit, and recorded as sent.

value: mails a second over everything the product does between the two (eligibility twice, letters,
frozen bytes, attempts, completions), durable commits, two sending processes that share two cores
with Postgres and the provider. floor: the same requests, ready made, from two processes; nothing
rendered, no database. `mib`: the larger of the two processes.

ECOMCRM_BENCH_QUICK=1 sends fewer, once.
"""

import os
import statistics
from typing import Any, Final

from sqlalchemy import text

from benchmarks.delivery_processes import connected, stand_in, together
from benchmarks.delivery_worker import Task, post, send, tally
from benchmarks.delivery_world import a_shop_that_owes
from benchmarks.ingest import _database as database
from benchmarks.render import ready_body
from core.database import session_scope
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
MESSAGES = 10_000 if IS_QUICK else 100_000
ROUNDS = 1 if IS_QUICK else 3
PROCESSES: Final = 2
BATCH: Final = 100
NO_LIMIT: Final = 100_000.0

COUNT_SENT = text("""
-- Returns how many messages of the shop the provider is known to have taken. Changes nothing.
SELECT count(*) FROM crm.messages WHERE shop_id = :shop_id AND state = 'sent'
""")


def run() -> dict[str, object]:
    """Mails per second, medians of ROUNDS rounds."""
    progress = Progress()
    rounds = []
    with database() as (url, _), stand_in() as address:
        for number in range(ROUNDS):
            rounds.append(measure(url, address, MESSAGES, number=number + 1))
            progress.say(f"round {number + 1}: {rounds[-1]}")
        floor = _floor(url, address, rounds[0]["shop_id"])
    value = statistics.median(each["per_second"] for each in rounds)
    return {
        "n": MESSAGES,
        "repeats": ROUNDS,
        "value": round(value),
        "unit": "mails/s",
        "mib": round(max(each["mib"] for each in rounds)),
        "cpu_seconds": round(statistics.median(each["cpu"] for each in rounds), 1),
        "sent_twice_or_lost": sum(abs(each["wrong"]) for each in rounds),
        "floor": round(floor),
        "ratio": round(value / floor, 3),
        "peer": None,
        "peer_ratio": None,
    }


def measure(
    url: str,
    address: str,
    count: int,
    *,
    number: int,
    per_second: float = NO_LIMIT,
    processes: int = PROCESSES,
    threads: int = 1,
) -> dict[str, Any]:
    """Queue `count` messages of a new shop and send them all."""
    with connected(url) as (text_url, factory):
        shop_id = a_shop_that_owes(factory, count, number=number)
        task = Task(text_url, address, shop_id, per_second, threads)
        tally(address)
        told = together(lambda pipe: (send, (task, pipe)), processes)
        counted = tally(address)
        with session_scope(factory) as session:
            sent: int = session.execute(COUNT_SENT, {"shop_id": shop_id}).scalar_one()
    seconds = max(each["ended"] for each in told) - min(each["began"] for each in told)
    return {
        "shop_id": shop_id,
        "seconds": seconds,
        "per_second": count / seconds,
        "mib": max(each["mib"] for each in told),
        "cpu": sum(each["cpu"] for each in told),
        "wrong": abs(count - counted["mails"]) + abs(count - sent),
        "times": counted["times"],
    }


def _floor(url: str, address: str, shop_id: int) -> float:
    """Mails per second of requests that only need to be posted."""
    with connected(url) as (text_url, factory):
        body = ready_body(factory, shop_id, count=BATCH)
    task = Task(text_url, address, shop_id, NO_LIMIT)
    times = MESSAGES // BATCH // PROCESSES
    told = together(lambda pipe: (post, (task, pipe, body, times)), PROCESSES)
    seconds: float = max(each["ended"] for each in told) - min(each["began"] for each in told)
    return BATCH * times * PROCESSES / seconds
