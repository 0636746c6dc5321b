"""Hours in which nobody is written to, in the wall-clock time of a zone.

They are spans between two instants, so a day of 23 or 25 hours needs no rule of its own. Where the
clock shows a time twice or never, they begin at the earlier of the two instants and end at the
later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class QuietHours:
    """From `starts` up to, not including, `ends`; over midnight if `ends` is the earlier."""

    starts: time
    ends: time
    zone: str


@lru_cache(maxsize=4096)
def quiet_until(hours: QuietHours, at: datetime) -> datetime | None:
    """When the quiet hours that `at` lies in are over, in UTC; None: it lies in none."""
    zone = zone_of(hours.zone)
    today = at.astimezone(zone).date()
    for day in (today - DAY, today):
        start = _instant(day, hours.starts, zone, min)
        end = _instant(day if hours.starts < hours.ends else day + DAY, hours.ends, zone, max)
        if start <= at < end:
            return end
    return None


def _instant(
    day: date, clock: time, zone: ZoneInfo, pick: Callable[[datetime, datetime], datetime]
) -> datetime:
    """When the clock on the wall shows this: the picked one of two instants, mostly the same."""
    local = datetime.combine(day, clock, tzinfo=zone)
    return pick(local.astimezone(UTC), local.replace(fold=1).astimezone(UTC))


def is_zone(name: str) -> bool:
    """Whether this machine knows the zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def zone_of(name: str) -> ZoneInfo:
    """The zone; UTC for a name that this machine does not know."""
    return ZoneInfo(name if is_zone(name) else "UTC")
