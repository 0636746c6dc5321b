"""RFM by numpy, from the definition in docs/rfm.md and from the orders: what the views must say.

It shares nothing with the SQL: no NTILE, no boundaries, no statistics kept beside the customer, no
table of segments. A value's score follows from how many customers have less.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_BUYERS: Final = 5
SCORES: Final = 5

Whole = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Scores:
    """One entry per buyer in each array, ascending by customer."""

    customer_ids: Whole
    r: Whole
    f: Whole
    m: Whole
    segments: Names


def score_orders(customer_ids: Whole, processed_at: Whole, amounts: Whole) -> Scores:
    """Everybody's scores from the orders that count, one entry each in arbitrary order.

    Times in whole microseconds, amounts in whole ten-thousandths of the shop's currency (0 for an
    order in another one): exact, as in NUMERIC. Empty where the shop has fewer than five buyers.
    """
    return score_buyers(*_statistics(customer_ids, processed_at, amounts))


def score_buyers(buyers: Whole, order_counts: Whole, spent: Whole, last_order_at: Whole) -> Scores:
    """The same from what each buyer's orders come to."""
    if len(buyers) < MIN_BUYERS:
        none = np.zeros(0, dtype=np.int64)
        return Scores(none, none, none, none, np.zeros(0, dtype=np.str_))
    r, f, m = quintile(last_order_at), quintile(order_counts), quintile(spent)
    return Scores(buyers, r, f, m, segment(r, f, m))


def quintile(values: Whole) -> Whole:
    """The score of each value: the bucket of the first place that the value takes in order.

    n places in five buckets as equal as can be; where n is no multiple of five, the first n mod 5
    buckets have one place more.
    """
    first_place = np.searchsorted(np.sort(values), values, side="left")
    size, larger = divmod(len(values), SCORES)
    ends = np.cumsum([size + (1 if bucket < larger else 0) for bucket in range(SCORES)])
    return np.searchsorted(ends, first_place, side="right") + 1


def segment(r: Whole, f: Whole, m: Whole) -> Names:
    """The seven rules, first match."""
    return np.select(
        [
            (r >= 4) & (f >= 4) & (m >= 4),
            (r >= 3) & (f >= 3) & (m >= 3),
            (r >= 4) & (f == 1),
            r >= 3,
            f >= 2,
            m >= 2,
        ],
        ["champion", "loyal", "new", "potential", "at_risk", "hibernating"],
        default="lost",
    )


def _statistics(
    customer_ids: Whole, processed_at: Whole, amounts: Whole
) -> tuple[Whole, Whole, Whole, Whole]:
    """Buyers ascending, their numbers of orders, sums and latest times."""
    if not len(customer_ids):
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, none
    order = np.argsort(customer_ids, kind="stable")
    buyers, begins, counts = np.unique(customer_ids[order], return_index=True, return_counts=True)
    spent = np.add.reduceat(amounts[order], begins)
    last = np.maximum.reduceat(processed_at[order], begins)
    return buyers, counts.astype(np.int64), spent, last
