"""Which objects an export asks for, as a search of Shopify's, and how it is made smaller.

Shopify may take a time in a search for the whole day it lies in (shopify.md §5.5). So a window
only ever says `>=` and `<`: read by seconds the two halves of a window hold all of it once, and
what follows a position is all the rest; read by days they hold some objects twice and miss none.
Within a day windows are halved by id, which works however times are read.
"""

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

from core.shopify.gid import LARGEST

SECOND: Final = timedelta(seconds=1)  # Shopify's times have no fractions
DAY: Final = timedelta(days=1)
# Before Shopify there was nothing to change.
FIRST_CHANGE: Final = datetime(2006, 1, 1, tzinfo=UTC)

Field = Literal["updated_at", "created_at"]

_TERM: Final = re.compile(r"(updated_at|created_at|id):(>=|<=|>|<)'?([0-9TZ:-]+)'?")


@dataclass(frozen=True)
class Window:
    """Objects whose `field` lies in [start, end), with ids in (above, upto]; without bounds:
    everything. Of those at `start` itself only ids above `past`.
    """

    start: datetime | None = None
    end: datetime | None = None
    past: int = 0
    above: int = 0
    upto: int = LARGEST
    field: Field = "updated_at"

    @property
    def is_everything(self) -> bool:
        return self == Window()

    @property
    def search(self) -> str:
        """The search text; `parse` reads it back."""
        if self.start is None or self.past <= self.above:
            return self._terms(self.start, self.above)
        later = self._terms(self.start + SECOND, self.above)
        same = self._terms(self.start, self.past)
        return f"({later}) OR ({same})"

    def _terms(self, start: datetime | None, above: int) -> str:
        terms = [f"{self.field}:>='{_text(start)}'"] if start else []
        terms += [f"{self.field}:<'{_text(self.end)}'"] if self.end else []
        terms += [f"id:>{above}"] if above else []
        terms += [f"id:<={self.upto}"] if self.upto < LARGEST else []
        return " AND ".join(terms)

    @classmethod
    def parse(cls, search: str) -> Self | None:
        """The window that `search` was made of; None for any other text."""
        later, _, same = search.rpartition(" OR ")
        try:
            bounds = _bounds(same)
            if later:
                bounds |= {"past": bounds.pop("above", 0), "above": _bounds(later).get("above", 0)}
        except ValueError:
            return None
        window = cls(**bounds)
        return window if window.search == search else None

    def covers(self, other: "Window") -> bool:
        """Whether everything in `other` is in this one too."""
        if self.is_everything:
            return True
        return (
            self.field == other.field
            and self.lower <= other.lower
            and self.upper >= other.upper
            and self.above <= other.above
            and self.upto >= other.upto
        )

    @property
    def lower(self) -> tuple[datetime, int]:
        """The position up to which it holds nothing."""
        return self.start or datetime.min.replace(tzinfo=UTC), self.past

    @property
    def upper(self) -> datetime:
        return self.end or datetime.max.replace(tzinfo=UTC)

    def after(self, position: tuple[datetime, int]) -> "Window | None":
        """What is left when everything up to `position` is here; None when that is no progress."""
        time, number = position
        time = time.replace(microsecond=0)
        if (time, number) <= self.lower or time >= self.upper:
            return None
        return replace(self, start=time, past=number)

    def halves(self, *, now: datetime) -> tuple["Window", "Window"] | None:
        """Two windows that hold this one, earlier one first; None for a single id.

        By time down to one day, then by id. `now` stands for an open end.
        """
        low, high = self.start or FIRST_CHANGE, self.end or now
        if high - low <= DAY:
            return self._halves_by_id()
        middle = (low + (high - low) // 2).replace(microsecond=0)
        return replace(self, end=middle), replace(self, start=middle, past=0)

    def _halves_by_id(self) -> tuple["Window", "Window"] | None:
        if self.upto - self.above <= 1:
            return None
        # Ids have ten to fifteen digits of nineteen: the geometric middle is there in a few steps.
        middle = math.isqrt(max(self.above, 1) * self.upto)
        middle = min(max(middle, self.above + 1), self.upto - 1)
        return replace(self, upto=middle), replace(self, above=middle)


def _bounds(terms: str) -> dict[str, Any]:
    """What the terms of a search say. Raises ValueError for a time that is none."""
    bounds: dict[str, Any] = {}
    for field, sign, value in _TERM.findall(terms):
        if field == "id":
            bounds["above" if sign == ">" else "upto"] = int(value)
        else:
            bounds["start" if sign == ">=" else "end"] = datetime.fromisoformat(value)
            bounds["field"] = field
    return bounds


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
