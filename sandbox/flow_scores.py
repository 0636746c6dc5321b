"""Scores and segments of a shop's buyers, worked out from the rules and nothing else."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import TypeVar

FEWEST_BUYERS = 5
SCORES = 5
NOBODY = "potential"
V = TypeVar("V", float, int, Decimal)


@dataclass(frozen=True)
class Buyer:
    """What a customer's orders that count come to."""

    orders: int
    spent: Decimal
    last: float

    @property
    def values(self) -> tuple[float, int, Decimal]:
        return self.last, self.orders, self.spent


@dataclass(frozen=True)
class Cuts:
    """From which value on a score is 2, 3, 4, 5, for recency, frequency and money."""

    recency: Sequence[float]
    frequency: Sequence[int]
    money: Sequence[Decimal]

    def segment(self, buyer: Buyer | None) -> str:
        if buyer is None:
            return NOBODY
        return segment_of(
            1 + bisect_right(self.recency, buyer.last),
            1 + bisect_right(self.frequency, buyer.orders),
            1 + bisect_right(self.money, buyer.spent),
        )


def cuts_of(buyers: Sequence[Buyer]) -> Cuts | None:
    """None: too few have bought."""
    if len(buyers) < FEWEST_BUYERS:
        return None
    recency, frequency, money = zip(*(buyer.values for buyer in buyers), strict=True)
    return Cuts(_cuts(recency), _cuts(frequency), _cuts(money))


def _cuts(values: Iterable[V]) -> list[V]:
    """Five equal parts, the first larger by one; equal values are all in the lowest of theirs."""
    ordered = sorted(values)
    small, larger = divmod(len(ordered), SCORES)
    parts = [score for score in range(1, SCORES + 1) for _ in range(small + (score <= larger))]
    lowest = [
        (value, next(group)[1])
        for value, group in groupby(zip(ordered, parts, strict=True), key=lambda pair: pair[0])
    ]
    found = []
    for score in range(2, SCORES + 1):
        found += [value for value, part in lowest if part >= score][:1]
    return found


def segment_of(r: int, f: int, m: int) -> str:
    """The first that fits."""
    rules = (
        ("champion", r >= 4 and f >= 4 and m >= 4),  # noqa: PLR2004 - as the rules say it
        ("loyal", r >= 3 and f >= 3 and m >= 3),  # noqa: PLR2004
        ("new", r >= 4 and f == 1),  # noqa: PLR2004
        ("potential", r >= 3),  # noqa: PLR2004
        ("at_risk", f >= 2),  # noqa: PLR2004
        ("hibernating", m >= 2),  # noqa: PLR2004
    )
    return next((name for name, fits in rules if fits), "lost")
