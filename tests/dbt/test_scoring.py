"""Scores by boundaries are those of NTILE(5) with the tie rule, over every shape of shop.

Against buckets dealt out in plain Python; test_scoring_properties.py asks numpy.
"""

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine, text

from core.paths import PROJECT_ROOT
from tests.dbt.oracle import NOT_SCORED, Person, scored
from tests.dbt.shops import LAUNCH, add_people, add_shops, decide
from tests.fixtures.marts import Marts

AS_OF = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
Scores = dict[int, tuple[int, int, int, str, bool]]


def person(customer_id: int, orders: int | None, spent: int = 0, day: int = 0) -> Person:
    last = LAUNCH + timedelta(days=day) if orders else None
    return Person(customer_id, orders, Decimal(spent), last)


def random_shop(chance: random.Random) -> list[Person]:
    """Sizes around every remainder of five, few or many distinct values, gaps and deletions."""
    size = chance.choice([*range(13), 25, 49, 60, 103])
    kinds = chance.choice([1, 2, 3, 8, 1000])
    people = []
    for customer_id in chance.sample(range(1, 10_000), size):
        orders = chance.choice([None, 0, *range(1, 1 + kinds), *range(1, 1 + kinds)])
        day, spent = chance.randrange(kinds), chance.randrange(kinds)
        base = person(customer_id, orders, spent if orders else 0, day)
        people.append(
            Person(
                base.customer_id,
                base.order_count,
                base.total_spent,
                base.last_order_at,
                is_deleted=chance.random() < 0.1,
            )
        )
    return people


def accept(connection: Connection, shops: dict[int, Sequence[Person]], rfm_run_id: str) -> None:
    for shop_id, people in shops.items():
        buyers = sum(one.is_buyer for one in people)
        decide(connection, shop_id, rfm_run_id, buyer_count=buyers)


def found(engine: Engine, shop_id: int) -> Scores:
    with engine.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT customer_id, r_score, f_score, m_score, segment, is_scored, rfm_score"
                " FROM marts.customer_segments WHERE shop_id = :shop_id"
            ),
            {"shop_id": shop_id},
        ).all()
    assert all(row.rfm_score == f"{row.r_score}{row.f_score}{row.m_score}" for row in rows)
    assert len({row.customer_id for row in rows}) == len(rows)
    return {
        row.customer_id: (row.r_score, row.f_score, row.m_score, row.segment, row.is_scored)
        for row in rows
    }


def score_shops(engine: Engine, marts: Marts, shops: list[list[Person]]) -> dict[int, list[Person]]:
    """Insert, compute, accept; the people by their new shop id."""
    with engine.begin() as connection:
        by_shop = dict(zip(add_shops(connection, shops), shops, strict=True))
    marts.compute_boundaries("run-1", AS_OF)
    with engine.begin() as connection:
        accept(connection, by_shop, "run-1")
    return by_shop


@pytest.mark.requirement("RFM-01", "RFM-02", "RFM-03")
def test_views_equal_ntile_with_the_tie_rule_over_many_random_shops(
    engine: Engine, marts: Marts
) -> None:
    chance = random.Random(20261120)  # noqa: S311 - repeatable, not secret
    shops = [random_shop(chance) for _ in range(300)]
    for shop_id, people in score_shops(engine, marts, shops).items():
        assert found(engine, shop_id) == scored(people), people


@pytest.mark.parametrize("size", range(5, 13))
def test_all_equal_buyers_score_1_1_1_and_are_lost_not_unscored(
    engine: Engine, marts: Marts, size: int
) -> None:
    [shop_id] = score_shops(engine, marts, [[person(n, 1, 10, 1) for n in range(size)]])
    assert set(found(engine, shop_id).values()) == {(1, 1, 1, "lost", True)}


def test_a_shop_that_reached_five_buyers_after_the_run_waits_for_the_next_one(
    engine: Engine, marts: Marts
) -> None:
    # The run had no boundaries for it; scoring by none made every customer 1/1/1 and `lost`.
    four = [person(n, n, n, n) for n in range(1, 5)]
    with engine.begin() as connection:
        [shop_id] = add_shops(connection, [four])
    marts.compute_boundaries("run-1", AS_OF)
    with engine.begin() as connection:
        add_people(connection, shop_id, [person(5, 5, 5, 5)])
        decide(connection, shop_id, "run-1", buyer_count=5)
    assert set(found(engine, shop_id).values()) == {NOT_SCORED}


def test_one_order_customers_never_differ_in_frequency(engine: Engine, marts: Marts) -> None:
    people = [person(n, 1 if n < 90 else 3, n, n) for n in range(100)]
    [shop_id] = score_shops(engine, marts, [people])
    frequencies = {
        (1 if number < 90 else 3): f for number, (_, f, *_) in found(engine, shop_id).items()
    }
    assert frequencies == {1: 1, 3: 5}


def test_four_buyers_are_not_scored_and_five_are(engine: Engine, marts: Marts) -> None:
    four, five = score_shops(
        engine,
        marts,
        [
            [person(n, n, n, n) for n in range(1, 5)] + [person(9, 0)],
            [person(n, n, n, n) for n in range(1, 6)] + [person(9, None)],
        ],
    )
    assert set(found(engine, four).values()) == {NOT_SCORED}
    assert found(engine, five)[5] == (5, 5, 5, "champion", True)
    assert found(engine, five)[9] == NOT_SCORED


@pytest.mark.requirement("RFM-04")
def test_an_order_moves_the_score_without_a_run(engine: Engine, marts: Marts) -> None:
    [shop_id] = score_shops(engine, marts, [[person(n, n, n, n) for n in range(1, 11)]])
    before = found(engine, shop_id)[1]
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE raw_shopify.customer_statistics SET order_count = 10, total_spent = 10,"
                " last_order_at = :at WHERE shop_id = :shop_id AND customer_id = 1"
            ),
            {"shop_id": shop_id, "at": LAUNCH + timedelta(days=100)},
        )
    assert before[3] == "lost"
    assert found(engine, shop_id)[1] == (5, 5, 5, "champion", True)


def test_a_held_run_moves_nobody_and_the_latest_accepted_one_is_in_force(
    engine: Engine, marts: Marts
) -> None:
    people = [person(n, n, n, n) for n in range(1, 11)]
    [shop_id] = score_shops(engine, marts, [people])
    before = found(engine, shop_id)
    with engine.begin() as connection:
        add_people(connection, shop_id, [person(n, n, n, n) for n in range(11, 31)])
    marts.compute_boundaries("run-2", AS_OF + timedelta(days=1))
    with engine.begin() as connection:
        decide(connection, shop_id, "run-2", buyer_count=30, state="held", decided_at=AS_OF)
    assert found(engine, shop_id).items() >= before.items()
    with engine.begin() as connection:
        connection.execute(text("UPDATE crm.rfm_runs SET state = 'accepted'"))
    assert found(engine, shop_id)[10] == (2, 2, 2, "at_risk", True)


def test_a_run_computed_twice_is_appended_once(engine: Engine, marts: Marts) -> None:
    score_shops(engine, marts, [[person(n, n, n, n) for n in range(1, 11)]])
    marts.compute_boundaries("run-1", AS_OF + timedelta(days=1))
    with engine.begin() as connection:
        rows = connection.execute(
            text("SELECT DISTINCT computed_at, count(*) OVER () FROM marts.rfm_boundaries")
        ).all()
    assert rows == [(AS_OF, 12)]


@pytest.mark.requirement("RFM-01")
def test_scores_are_views_and_no_python_of_ours_scores_or_writes_a_mart(
    engine: Engine, marts: Marts
) -> None:
    with engine.begin() as connection:
        kinds = connection.execute(
            text(
                "SELECT relname, relkind::text FROM pg_class"
                " WHERE relnamespace = 'marts'::regnamespace AND relname IN"
                " ('customer_rfm', 'customer_segments', 'customers')"
            )
        ).all()
    assert {kind for _, kind in kinds} == {"v"}
    assert len(kinds) == 3
    scoring = re.compile(
        r"\bntile\b|width_bucket|\bqcut\b|quantile|(insert into|update|delete from) marts\.",
        re.IGNORECASE,
    )
    sources = [
        path
        for package in ("core", "activation", "orchestration", "webapp", "ops")
        for path in (PROJECT_ROOT / package).rglob("*")
        if path.suffix in (".py", ".sql", ".plpgsql")
    ]
    assert len(sources) > 100
    assert [path.name for path in sources if scoring.search(path.read_text())] == []
