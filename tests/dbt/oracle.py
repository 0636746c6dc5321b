"""What the marts must say, in plain Python: quintiles with the tie rule and the seven segments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

MIN_BUYERS = 5
NOT_SCORED = (1, 1, 1, "potential", False)


@dataclass(frozen=True)
class Person:
    """One customer of a shop with their statistics; order_count None is a missing row."""

    customer_id: int
    order_count: int | None
    total_spent: Decimal
    last_order_at: datetime | None
    is_deleted: bool = False

    @property
    def is_buyer(self) -> bool:
        return bool(self.order_count) and not self.is_deleted


def ntile(count: int, buckets: int) -> list[int]:
    """The bucket of each row in order: the first count % buckets buckets have one row more."""
    size, larger = divmod(count, buckets)
    return [
        bucket
        for bucket in range(1, buckets + 1)
        for _ in range(size + (1 if bucket <= larger else 0))
    ]


def quintile_scores(values: Sequence[tuple[Any, int]]) -> dict[int, int]:
    """Score by customer id for (value, customer id) pairs: the lowest bucket among equal values."""
    ordered = sorted(values)
    lowest: dict[Any, int] = {}
    for (value, _), bucket in zip(ordered, ntile(len(ordered), 5), strict=True):
        lowest.setdefault(value, bucket)
    return {customer_id: lowest[value] for value, customer_id in ordered}


def segment_of(r: int, f: int, m: int) -> str:  # noqa: PLR0911 - seven rules, first match
    if r >= 4 and f >= 4 and m >= 4:
        return "champion"
    if r >= 3 and f >= 3 and m >= 3:
        return "loyal"
    if r >= 4 and f == 1:
        return "new"
    if r >= 3:
        return "potential"
    if f >= 2:
        return "at_risk"
    if m >= 2:
        return "hibernating"
    return "lost"


def scored(people: Iterable[Person]) -> dict[int, tuple[int, int, int, str, bool]]:
    """(R, F, M, segment, is_scored) by customer id for everyone who is not deleted."""
    present = [person for person in people if not person.is_deleted]
    buyers = [person for person in present if person.is_buyer]
    expected = {person.customer_id: NOT_SCORED for person in present}
    if len(buyers) < MIN_BUYERS:
        return expected
    recency = quintile_scores([(p.last_order_at, p.customer_id) for p in buyers])
    frequency = quintile_scores([(p.order_count, p.customer_id) for p in buyers])
    monetary = quintile_scores([(p.total_spent, p.customer_id) for p in buyers])
    for buyer in buyers:
        key = buyer.customer_id
        r, f, m = recency[key], frequency[key], monetary[key]
        expected[key] = (r, f, m, segment_of(r, f, m), True)
    return expected
