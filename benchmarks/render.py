"""A hundred letters and their request, over and over, in one process.

value: mails a second from facts that are already read to the bytes of the request: both parts
rendered and checked, headers, tags, signed links, serialised. floor: serialising alone.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import orjson
from sqlalchemy import select

from activation.outbox.members import Member, claim_queued
from activation.provider import MailRequest
from activation.rendering.letters import Material, compose, read_material
from benchmarks.delivery_processes import connected
from benchmarks.delivery_worker import Task, settings_for
from benchmarks.delivery_world import a_shop_that_owes
from benchmarks.ingest import _database as database
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import Message

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
BATCH: Final = 100
MAILS = 2_000 if IS_QUICK else 20_000
ROUNDS = 1 if IS_QUICK else 5


def run() -> dict[str, object]:
    """Mails per second of one process, medians of ROUNDS rounds."""
    with database() as (url, _), connected(url) as (text_url, factory):
        shop_id = a_shop_that_owes(factory, BATCH)
        settings = settings_for(Task(text_url, "http://127.0.0.1:9", shop_id, 1.0))
        with session_scope(factory) as session:
            members = claim_queued(session, shop_id, now=SystemClock().now(), limit=BATCH)
            material = read_material(session, shop_id, members, settings=settings)
        times = MAILS // BATCH
        rates, floors = [], []
        for _ in range(ROUNDS):
            rates.append(_per_second(lambda: _request(material, members), times))
            mails = [compose(material, each, each.email or "")[1] for each in members]
            floors.append(_per_second(partial(_serialise, mails), times))
        size = len(_request(material, members))
    value, floor = statistics.median(rates), statistics.median(floors)
    return {
        "n": MAILS,
        "repeats": ROUNDS,
        "value": round(value),
        "unit": "mails/s",
        "request_bytes": size,
        "floor": round(floor),
        "ratio": round(value / floor, 3),
        "peer": None,
        "peer_ratio": None,
    }


def ready_body(factory: SessionFactory, shop_id: int, *, count: int) -> bytes:
    """A request of `count` mails of the shop, as the product would make it."""
    with session_scope(factory) as session:
        rows = session.scalars(select(Message).where(Message.shop_id == shop_id).limit(count)).all()
        members = [_member(each) for each in rows]
        settings = settings_for(Task("postgresql://nowhere/none", "http://127.0.0.1:9", 0, 1.0))
        return _request(read_material(session, shop_id, members, settings=settings), members)


def _member(message: Message) -> Member:
    return Member(
        message_id=message.message_id,
        automation_id=message.automation_id,
        version=message.version,
        step_key=message.step_key,
        customer_id=message.customer_id,
        email=message.email,
        due_at=message.due_at,
        expires_at=message.expires_at,
        defer_reason=None,
        priority=message.priority,
        is_test=False,
        dedupe_key=message.dedupe_key,
        order_id=message.customer_id,  # in the world of the benchmark they have one number
    )


def _request(material: Material, members: Sequence[Member]) -> bytes:
    return _serialise([compose(material, each, each.email or "")[1] for each in members])


def _serialise(mails: Sequence[MailRequest]) -> bytes:
    return orjson.dumps(mails)


def _per_second(work: Callable[[], object], times: int) -> float:
    work()
    began = time.perf_counter()
    for _ in range(times):
        work()
    return BATCH * times / (time.perf_counter() - began)
