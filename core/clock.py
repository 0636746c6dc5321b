"""Business time.

Business time decides what is due, late or historical; it reaches SQL as a bind parameter and can
be moved, per shop, for tests and the demo (`crm.shops.clock_offset`, so that every process moves
together). Leases, pacing and signatures use the real clock and never come here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time in UTC, always timezone-aware."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class MovableClock:
    """A clock that tests move by hand."""

    current: datetime

    def now(self) -> datetime:
        return self.current

    def advance(self, by: timedelta) -> None:
        self.current += by


@dataclass(frozen=True)
class OffsetClock:
    """Another clock, moved by a shop's offset."""

    base: Clock
    offset: timedelta

    def now(self) -> datetime:
        return self.base.now() + self.offset
