"""Not too many mails to one address: when may the next one leave?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Cap:
    """At most `mails` to one address in any span of `window`."""

    mails: int
    window: timedelta


def free_at(caps: Iterable[Cap], sent: Sequence[datetime], *, now: datetime) -> datetime | None:
    """When every cap has room for one more; None: it has now. `sent` in any order."""
    newest_first = sorted(sent, reverse=True)
    free = now
    for cap in caps:
        if len(newest_first) >= cap.mails:
            free = max(free, newest_first[cap.mails - 1] + cap.window)
    return free if free > now else None
