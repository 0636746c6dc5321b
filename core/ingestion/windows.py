"""Which objects an export asks for, as a search of Shopify's, and how it is made smaller.

Shopify may take a time in a search for the whole day it lies in (shopify.md §5.5). So a window
only ever says `>=` and `<`: read by days or by seconds, the two halves of a window hold all of it,
and what follows a position misses nothing; by days they hold some objects twice.
"""

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

from core.shopify.gid import LARGEST

SECOND: Final = timedelta(seconds=1)  # Shopify's times have no fractions
# Before Shopify there was nothing to change.
FIRST_CHANGE: Final = datetime(2006, 1, 1, tzinfo=UTC)

Field = Literal["updated_at", "created_at"]

_TERM: Final = re.compile(r"(updated_at|created_at|id):(>=|<=|>|<)'?([0-9TZ:-]+)'?")


@dataclass(frozen=True)
class Window:
    """Objects whose `field` lies in [start, end); without bounds: everything.

    Of those at `start` itself only ids above `above`; in a window of one instant, none above
    `upto`.
    """

    start: datetime | None = None
    end: datetime | None = None
    above: int = 0
    upto: int = LARGEST
    field: Field = "updated_at"

    @property
    def is_everything(self) -> bool:
        return self.start is None and self.end is None

    @property
    def is_one_instant(self) -> bool:
        return self.start is not None and self.end is not None and self.end - self.start <= SECOND

    @property
    def search(self) -> str:
        """The search text; `parse` reads it back."""
        if self.is_everything:
            return ""
        if self.is_one_instant or not self.above or self.start is None:
            ids = [f"id:>{self.above}"] if self.above else []
            ids += [f"id:<={self.upto}"] if self.upto < LARGEST else []
            return " AND ".join([*self._times(self.start), *ids])
        later = " AND ".join(self._times(self.start + SECOND))
        same = " AND ".join([*self._times(self.start), f"id:>{self.above}"])
        return f"({later}) OR ({same})"

    def _times(self, start: datetime | None) -> list[str]:
        from_start = [f"{self.field}:>='{_text(start)}'"] if start else []
        return from_start + ([f"{self.field}:<'{_text(self.end)}'"] if self.end else [])

    @classmethod
    def parse(cls, search: str) -> Self | None:
        """The window that `search` was made of; None for any other text."""
        last_group = search.rpartition(" OR ")[2]
        bounds: dict[str, Any] = {}
        try:
            for field, sign, value in _TERM.findall(last_group):
                if field == "id":
                    bounds["above" if sign == ">" else "upto"] = int(value)
                else:
                    bounds["start" if sign == ">=" else "end"] = datetime.fromisoformat(value)
                    bounds["field"] = field
        except ValueError:
            return None
        window = cls(**bounds)
        return window if window.search == search else None

    def covers(self, other: "Window") -> bool:
        """Whether everything in `other` is in this one too."""
        if self.is_everything:
            return True
        if self.field != other.field:
            return False
        return self.lower <= other.lower and self.upper >= other.upper

    @property
    def lower(self) -> tuple[datetime, int]:
        return self.start or datetime.min.replace(tzinfo=UTC), self.above

    @property
    def upper(self) -> tuple[datetime, int]:
        return self.end or datetime.max.replace(tzinfo=UTC), self.upto

    def after(self, position: tuple[datetime, int]) -> "Window | None":
        """What is left when everything up to `position` is here; None when that is no progress."""
        time, number = position
        time = time.replace(microsecond=0)
        if self.start is not None and (time, number) <= (self.start, self.above):
            return None
        if self.end is not None and time >= self.end:
            return None
        return replace(self, start=time, above=number)

    def halves(self, *, now: datetime) -> tuple["Window", "Window"] | None:
        """Two windows that hold this one, earlier one first; None for a single object.

        By time down to one second, then by id. `now` stands for an open end.
        """
        if self.is_one_instant:
            return self._halves_by_id()
        low = self.start or FIRST_CHANGE
        high = max(self.end or now, low + 2 * SECOND)
        middle = low + (high - low) // 2
        middle = max(middle.replace(microsecond=0), low + SECOND)
        return replace(self, end=middle), replace(self, start=middle, above=0)

    def _halves_by_id(self) -> tuple["Window", "Window"] | None:
        if self.upto - self.above <= 1:
            return None
        # Ids have ten to fifteen digits of nineteen: the geometric middle is there in a few steps.
        middle = math.isqrt(max(self.above, 1) * self.upto)
        middle = min(max(middle, self.above + 1), self.upto - 1)
        return replace(self, upto=middle), replace(self, above=middle)


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
