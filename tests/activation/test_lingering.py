"""A run that stays: it hears of work, ends when told, and outlives its connection.

Runs are in a thread of their own with a look so rare that only what is told can wake them; all
waits are for something to become true.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from activation.cycle_report import CycleReport
from activation.lingering import Terms, linger
from activation.liveness import LOCK, Line, ask_to_stop, hold
from core.database import session_scope
from tests.activation.world import World

NEVER = timedelta(minutes=5)
DEAF = Terms(idle=NEVER, lifetime=NEVER, poll=NEVER)
PATIENCE_SECONDS = 20.0


@dataclass
class Lingering:
    """A run at work in a thread."""

    line: Line
    told: list[Mapping[str, int]] = field(default_factory=list)
    reports: list[CycleReport] = field(default_factory=list)


def eventually(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what() and time.monotonic() < deadline:
        time.sleep(0.01)
    return what()


@contextmanager
def lingering(world: World, terms: Terms = DEAF) -> Iterator[Lingering]:
    """Whatever happens in the body, the run ends with it."""
    line = Line(world.settings.listen_url)
    assert line.take()
    run = Lingering(line)

    def work() -> None:
        cycle = world.cycle(stop=line.stop.is_set)
        run.reports.append(linger(cycle, line, terms, tell=run.told.append))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield run
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the run goes on"
    finally:
        line.stop.set()
        line.heard.set()
        thread.join(PATIENCE_SECONDS)
        line.close()


def backend_of_line(world: World) -> int:
    with session_scope(world.factory) as session:
        return int(
            session.scalar(
                text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :lock"),
                {"lock": LOCK},
            )
            or 0
        )


def mailed(world: World, number: int) -> bool:
    return eventually(lambda: f"c{number}@example.com" in world.provider.addresses())


@pytest.mark.requirement("PIPE-01", "FLOW-01")
def test_an_order_wakes_the_run_and_a_word_ends_it(world: World) -> None:
    world.switch_welcome_on()
    with lingering(world) as run:
        assert eventually(lambda: backend_of_line(world) > 0)
        for number in (1, 2):
            world.buyers([number])
            assert mailed(world, number)
        ask_to_stop(world.settings.listen_url)
    [report] = run.reports
    assert (report.mails_accepted, report.failures) == (2, [])


@pytest.mark.requirement("PIPE-01")
def test_it_ends_when_nothing_has_come_for_its_idle_time(world: World) -> None:
    brief = Terms(idle=timedelta(milliseconds=50), lifetime=NEVER)
    with lingering(world, brief) as run:
        pass
    assert len(run.reports) == 1


@pytest.mark.requirement("PIPE-01")
def test_it_ends_at_the_end_of_its_life_whatever_comes(world: World) -> None:
    """With steady traffic it was never idle, and old code would have gone on for ever."""
    short = Terms(idle=NEVER, lifetime=timedelta(milliseconds=300), poll=timedelta(milliseconds=10))
    with lingering(world, short) as run:
        pass
    assert len(run.reports) == 1


@pytest.mark.requirement("PIPE-01")
def test_a_lost_connection_is_made_anew_with_its_lock(world: World) -> None:
    world.switch_welcome_on()
    with lingering(world) as run:
        before = backend_of_line(world)
        world.execute("SELECT pg_terminate_backend(:pid)", pid=before)
        assert eventually(lambda: backend_of_line(world) not in (0, before))
        with hold(world.settings.listen_url) as alone:
            assert not alone
        world.buyers([1])
        assert mailed(world, 1)
        ask_to_stop(world.settings.listen_url)
    assert run.reports[0].mails_accepted == 1


@pytest.mark.requirement("PIPE-01")
def test_it_ends_where_another_run_took_over_meanwhile(world: World) -> None:
    waiting = psycopg.connect(
        world.settings.listen_url.replace("+psycopg", ""), autocommit=True, prepare_threshold=None
    )
    with lingering(world) as run:
        before = backend_of_line(world)
        taking = threading.Thread(
            target=lambda: waiting.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        )
        taking.start()
        assert eventually(lambda: waits_for_lock(world))
        world.execute("SELECT pg_terminate_backend(:pid)", pid=before)
    taking.join(PATIENCE_SECONDS)
    waiting.close()
    assert len(run.reports) == 1


def waits_for_lock(world: World) -> bool:
    with session_scope(world.factory) as session:
        asked = text("SELECT EXISTS (SELECT FROM pg_locks WHERE objid = :lock AND NOT granted)")
        return bool(session.scalar(asked, {"lock": LOCK}))


@pytest.mark.requirement("PIPE-01")
def test_what_is_told_on_the_way_adds_up_to_what_was_done(world: World) -> None:
    world.switch_welcome_on()
    often = Terms(idle=NEVER, lifetime=NEVER, poll=NEVER, tell_every=timedelta())
    with lingering(world, often) as run:
        for number in (1, 2, 3):
            world.buyers([number])
            assert mailed(world, number)
        assert eventually(lambda: sum(each["mails_accepted"] for each in run.told) == 3)
        ask_to_stop(world.settings.listen_url)
    assert sum(each["messages_queued"] for each in run.told) == 3


@pytest.mark.requirement("PIPE-01", "AUTO-02")
def test_a_flow_switched_on_while_it_lingers_is_looked_at_for_everyone(world: World) -> None:
    """An order worked on just before its flow was switched on enrolled nobody until the next run,
    which with steady traffic is ten minutes later.
    """
    often = Terms(idle=NEVER, lifetime=NEVER, poll=timedelta(milliseconds=20))
    with lingering(world, often) as run:
        world.execute("UPDATE crm.automations SET is_active = false")
        world.buyers([1])
        assert eventually(lambda: not touches(world))
        world.switch_welcome_on()
        assert mailed(world, 1)
        ask_to_stop(world.settings.listen_url)
    assert run.reports[0].mails_accepted == 1


def touches(world: World) -> int:
    with session_scope(world.factory) as session:
        return int(session.scalar(text("SELECT count(*) FROM raw_shopify.customer_touches")) or 0)
