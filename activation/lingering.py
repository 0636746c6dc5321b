"""A run that goes on while work comes, so that an order waits for no start (decision 36).

    a pass → more to do: another pass → nothing: wait until work is told, at most a second

It ends when nothing has moved for its idle time, when its lifetime is over, when it is told to
stop, or when another run has taken its lock. A broken connection is mended first and nothing is
reported meanwhile: whatever is reported is written to the same Postgres.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import psycopg
from sqlalchemy.exc import InterfaceError, OperationalError

from activation.cycle import Cycle, Run
from activation.cycle_report import CycleReport
from activation.liveness import Line
from activation.looking import EVERYTHING

log = logging.getLogger(__name__)

POLL: Final = timedelta(seconds=1)  # between looks when nothing is told
# All stages are gone through, those that failed too.
EVERYTHING_EVERY: Final = timedelta(seconds=5)
TELL_EVERY: Final = timedelta(seconds=10)  # of work; an event costs 7 ms and 2 KB
MENDING: Final = timedelta(milliseconds=250)  # between two tries to reach Postgres again

Tell = Callable[[Mapping[str, int]], None]


@dataclass(frozen=True)
class Terms:
    """How long a run stays: `idle` after the last work, `lifetime` in all."""

    idle: timedelta = timedelta(seconds=60)
    lifetime: timedelta = timedelta(minutes=10)
    poll: timedelta = POLL
    tell_every: timedelta = TELL_EVERY


def linger(cycle: Cycle, line: Line, terms: Terms, *, tell: Tell) -> CycleReport:
    """Do what is due and what comes. `line` has been taken; `tell` gets what was done since it was
    told last, so often at most as the terms say. Returns the counts of the whole run.
    """
    return _Lingering(cycle, line, terms, tell).run()


class _Lingering:
    """The state of one run: when it last moved anything, looked at everything, and told."""

    def __init__(self, cycle: Cycle, line: Line, terms: Terms, tell: Tell) -> None:
        self._line = line
        self._terms = terms
        self._tell = tell
        self._run = Run(replace(cycle, longest=terms.lifetime))
        self._told = self._run.report.counts()
        self._told_at = self._moved_at = time.monotonic()
        self._everything_at = 0.0

    def run(self) -> CycleReport:
        while not self._run.is_over():
            if self._line.lost.is_set():
                if not self._mend():
                    break
                continue
            self._line.heard.clear()
            if self._pass():
                self._moved_at = time.monotonic()
            elif not self._rest():
                break
            self._tell_sometimes()
        return self._run.report

    def _pass(self) -> int:
        """How much moved; 0 also when the database went away in the middle."""
        try:
            if time.monotonic() < self._everything_at:
                return self._run.look_and_pass()
            self._run.forgive()
            moved = self._run.one_pass(EVERYTHING)
        except (OperationalError, InterfaceError) as error:
            log.warning("The database went away: %s", type(error.orig).__name__)
            return 0
        self._everything_at = time.monotonic() + EVERYTHING_EVERY.total_seconds()
        return moved

    def _rest(self) -> bool:
        """Wait for work; False: there was none for long enough."""
        left = self._moved_at + self._terms.idle.total_seconds() - time.monotonic()
        if left <= 0:
            return self._line.lost.is_set()
        self._line.wait(min(self._terms.poll.total_seconds(), left))
        return True

    def _mend(self) -> bool:
        """Reach Postgres again and take the lock; False: another run has it."""
        try:
            is_ours = self._line.take()
        except psycopg.Error:
            self._line.stop.wait(MENDING.total_seconds())
            return True
        if not is_ours:
            log.warning("Another run took over while the database was away.")
            return False
        self._everything_at = 0.0
        return True

    def _tell_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._told_at < self._terms.tell_every.total_seconds() or self._line.lost.is_set():
            return
        self._told_at = now
        counts = self._run.report.counts()
        done = {name: count - self._told[name] for name, count in counts.items()}
        self._told = counts
        if any(count for name, count in done.items() if name != "passes"):
            self._tell(done)
