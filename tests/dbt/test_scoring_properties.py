"""Scores against an implementation in numpy that shares nothing with the SQL, over generated shops
full of equal values. Many shops are scored in one round of the database, because a round costs
more than a shop.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from benchmarks.rfm_oracle import quintile, score_buyers
from tests.dbt.oracle import NOT_SCORED, Person, quintile_scores
from tests.dbt.shops import LAUNCH, add_shops, decide
from tests.fixtures.marts import Marts

AS_OF = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
AMOUNTS = [Decimal(text) for text in ("0", "0.1", "0.3", "9.99", "9.995", "10", "-5")]
DAYS = 6
MOST_ORDERS = 5
RUNS = ("run-1", "run-2")
EMPTY = (
    "TRUNCATE crm.shops, raw_shopify.customers, raw_shopify.customer_statistics,"
    " marts.rfm_boundaries CASCADE"
)

Row = tuple[int, int, int, str, bool]
pytestmark = pytest.mark.requirement("RFM-01", "RFM-02", "RFM-03")
rounds = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def decoded(customer_id: int, number: int) -> Person:
    """One drawn number is one person: orders, amount and day, each of a few values."""
    number, orders = divmod(number, MOST_ORDERS + 1)
    day, amount = divmod(number, len(AMOUNTS))
    if not orders:
        return Person(customer_id, None if day % 2 else 0, Decimal(0), None)
    at = LAUNCH + timedelta(days=day, microseconds=day % 2)
    return Person(customer_id, orders, AMOUNTS[amount], at, is_deleted=day == DAYS)


people = st.lists(
    st.integers(0, (MOST_ORDERS + 1) * len(AMOUNTS) * (DAYS + 1) - 1), max_size=23
).map(lambda numbers: [decoded(1 + at, number) for at, number in enumerate(numbers)])
shops = st.lists(people, min_size=1, max_size=25)


@dataclass(frozen=True)
class Scored:
    """What the views say of each shop, and the boundaries of each run."""

    rows: list[dict[int, Row]]
    bounds: list[dict[tuple[str, str, int], tuple[Any, Any]]]


def score(engine: Engine, marts: Marts, made: Sequence[Sequence[Person]]) -> Scored:
    """All of these shops by one insert, two runs and two queries."""
    with engine.begin() as connection:
        connection.execute(text(EMPTY))
        shop_ids = add_shops(connection, made)
    for run in RUNS:
        marts.compute_boundaries(run, AS_OF)
    with engine.begin() as connection:
        for shop_id, shop in zip(shop_ids, made, strict=True):
            decide(connection, shop_id, "run-1", buyer_count=sum(one.is_buyer for one in shop))
        found = connection.execute(text("SELECT * FROM marts.customer_segments")).all()
        bounds = connection.execute(text("SELECT * FROM marts.rfm_boundaries")).all()
    rows: dict[int, dict[int, Row]] = {shop_id: {} for shop_id in shop_ids}
    for one in found:
        assert one.rfm_score == f"{one.r_score}{one.f_score}{one.m_score}"
        row = (one.r_score, one.f_score, one.m_score, one.segment, one.is_scored)
        assert one.customer_id not in rows[one.shop_id]
        rows[one.shop_id][one.customer_id] = row
    of_shop: dict[int, dict[Any, Any]] = {shop_id: {} for shop_id in shop_ids}
    for bound in bounds:
        key = (bound.rfm_run_id, bound.dimension, bound.score)
        of_shop[bound.shop_id][key] = (bound.lower_bound, bound.lower_bound_at)
    return Scored(list(rows.values()), list(of_shop.values()))


def values_of(buyers: Sequence[Person]) -> dict[str, list[Any]]:
    return {
        "recency": [one.last_order_at for one in buyers],
        "frequency": [one.order_count for one in buyers],
        "monetary": [one.total_spent for one in buyers],
    }


def by_numpy(shop: Sequence[Person]) -> dict[int, Row]:
    buyers = sorted((one for one in shop if one.is_buyer), key=lambda one: one.customer_id)
    scores = score_buyers(
        np.array([one.customer_id for one in buyers], dtype=np.int64),
        np.array([one.order_count for one in buyers], dtype=np.int64),
        np.array([int(one.total_spent * 10_000) for one in buyers], dtype=np.int64),
        np.array([_microseconds(one.last_order_at) for one in buyers], dtype=np.int64),
    )
    said: dict[int, Row] = {one.customer_id: NOT_SCORED for one in shop if not one.is_deleted}
    for number, r, f, m, name in zip(
        *(scores.customer_ids, scores.r, scores.f, scores.m, scores.segments), strict=True
    ):
        said[int(number)] = (int(r), int(f), int(m), str(name), True)
    return said


def _microseconds(at: datetime | None) -> int:
    assert at is not None
    return (at - LAUNCH) // timedelta(microseconds=1)


@rounds
@given(shops)
def test_views_say_what_numpy_says_in_every_generated_shop(
    engine: Engine, marts: Marts, made: list[list[Person]]
) -> None:
    found = score(engine, marts, made)
    assert found.rows == [by_numpy(shop) for shop in made]


@rounds
@given(shops, st.randoms(use_true_random=False))
def test_the_same_values_score_the_same_in_any_row_order_under_any_ids_and_on_any_run(
    engine: Engine, marts: Marts, made: list[list[Person]], chance: random.Random
) -> None:
    """Each shop twice: the second time its people stand in another order under other ids."""
    mixed = []
    for shop in made:
        numbers = chance.sample(range(1, 1000), len(shop))
        again = [replace(one, customer_id=n) for one, n in zip(shop, numbers, strict=True)]
        mixed.append(chance.sample(again, len(again)))
    found = score(engine, marts, [*made, *mixed])
    count = len(made)
    for at, (shop, again) in enumerate(zip(made, mixed, strict=True)):
        first, second = found.rows[at], found.rows[count + at]
        assert _by_values(shop, first) == _by_values(again, second)
        assert found.bounds[at] == found.bounds[count + at]
        of_runs = [
            {key[1:]: bound for key, bound in found.bounds[at].items() if key[0] == run}
            for run in RUNS
        ]
        assert of_runs[0] == of_runs[1]


def _by_values(shop: Sequence[Person], rows: dict[int, Row]) -> dict[tuple[Any, ...], Row]:
    """Score by R, F and M value; asserts that who has the same values has the same score."""
    scores: dict[tuple[Any, ...], Row] = {}
    alone: dict[tuple[str, Any], int] = {}
    for one in shop:
        if one.is_deleted:
            continue
        row = rows[one.customer_id]
        values = (one.last_order_at, one.order_count or 0, one.total_spent)
        assert scores.setdefault(values, row) == row
        if row[-1]:
            for dimension, value, number in zip("RFM", values, row, strict=False):
                assert alone.setdefault((dimension, value), number) == number
    return scores


@rounds
@given(shops)
def test_a_boundary_is_the_smallest_value_that_reaches_its_score(
    engine: Engine, marts: Marts, made: list[list[Person]]
) -> None:
    found = score(engine, marts, made)
    for shop, bounds in zip(made, found.bounds, strict=True):
        buyers = [one for one in shop if one.is_buyer]
        if len(buyers) < 5:
            assert bounds == {}
            continue
        expected = {}
        for dimension, values in values_of(buyers).items():
            ordered = {value: at for at, value in enumerate(sorted(set(values)))}
            scores = quintile(np.array([ordered[value] for value in values], dtype=np.int64))
            for k in range(2, 6):
                reached = [v for v, s in zip(values, scores, strict=True) if s >= k]
                least = min(reached, default=None)
                expected[dimension, k] = (None, least) if dimension == "recency" else (least, None)
        assert {key[1:]: bound for key, bound in bounds.items() if key[0] == "run-1"} == expected


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60))
def test_the_two_oracles_agree(values: list[int]) -> None:
    """Plain Python that deals out buckets, and numpy that counts who has less."""
    dealt = quintile_scores([(value, at) for at, value in enumerate(values)])
    counted = quintile(np.array(values, dtype=np.int64))
    assert [dealt[at] for at in range(len(values))] == counted.tolist()
