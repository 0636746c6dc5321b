"""The interval of what flows earn holds the truth as often as it says, by the SQL itself."""

import json
import math
from typing import Any

from sqlalchemy import Connection, Engine, text

from tests.dbt.flow_reports import compiled, fill
from tests.fixtures.marts import Marts

SIMULATIONS = 200
TREATED, HELD_OUT = 900, 100
CONVERSION = 0.2
MU, SIGMA = 3.5, 1.0  # of the logarithm of a basket: one in a hundred is ten times the median
AGAIN = 0.1  # of the buyers, twice
LIFTS = {"flat": 0.0, "lifted": 0.2}

SHOPS = text("""
INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, client_secret_encrypted)
SELECT :kind || number || '.myshopify.com', :kind, 'EUR', 'UTC', 'id', 'x'
FROM generate_series(1, :simulations) AS number
""")
FLOWS = text("""
INSERT INTO crm.automations (shop_id, key, name)
SELECT shop_id, 'welcome', 'Welcome' FROM crm.shops WHERE name = ANY(:kinds)
""")
# A basket is e^(mu + sigma * normal), one normal of two uniforms. Whoever buys may do so twice.
PEOPLE = text("""
INSERT INTO intermediate.int_flow_outcomes (
    shop_id,
    automation_id,
    customer_id,
    is_held_out,
    owed_at,
    window_ends_at,
    holdout_percent,
    window_days,
    order_count,
    revenue,
    credited_order_count,
    credited_revenue
)
SELECT
    drawn.shop_id,
    drawn.automation_id,
    drawn.customer_id,
    drawn.is_held_out,
    '2026-01-01',
    '2026-01-06',
    10,
    5,
    CASE WHEN NOT drawn.buys THEN 0 WHEN drawn.again < :again THEN 2 ELSE 1 END,
    CASE WHEN drawn.buys THEN exp(:mu + :sigma * drawn.normal) ELSE 0 END,
    0,
    0
FROM (
    SELECT
        automations.shop_id,
        automations.automation_id,
        person.customer_id,
        person.customer_id > :treated AS is_held_out,
        random() < :conversion * CASE
            WHEN shops.name = 'lifted' AND person.customer_id <= :treated THEN 1.2 ELSE 1
        END AS buys,
        random() AS again,
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS normal
    FROM crm.automations
    INNER JOIN crm.shops ON automations.shop_id = shops.shop_id
    CROSS JOIN generate_series(1, :treated + :held_out) AS person (customer_id)
    WHERE shops.name IN ('flat', 'lifted')
) AS drawn
""")
COVERED = text("""
SELECT
    shops.name AS kind,
    lift.metric,
    count(*) AS simulations,
    count(*) FILTER (
        WHERE CAST(CAST(:truths AS jsonb) -> shops.name ->> lift.metric AS numeric)
        BETWEEN lift.difference_low AND lift.difference_high
    ) AS covered,
    count(*) FILTER (
        WHERE CAST(CAST(:lifts AS jsonb) ->> shops.name AS numeric)
        BETWEEN lift.relative_lift_low AND lift.relative_lift_high
    ) AS relatively_covered,
    count(*) FILTER (WHERE lift.verdict = 'more') AS said_more,
    count(*) FILTER (WHERE lift.verdict = 'less') AS said_less
FROM marts.flow_lift AS lift
INNER JOIN crm.shops ON lift.shop_id = shops.shop_id
WHERE shops.name IN ('flat', 'lifted')
GROUP BY shops.name, lift.metric
""")


def truths() -> dict[str, dict[str, float]]:
    """What a person more brings in, on average over all people there could be."""
    basket = math.exp(MU + SIGMA**2 / 2)
    buyer = {"buyers": 1, "orders": 1 + AGAIN, "revenue": basket}
    return {
        kind: {metric: CONVERSION * lift * amount for metric, amount in buyer.items()}
        for kind, lift in LIFTS.items()
    }


def simulate(connection: Connection) -> None:
    """200 shops without a lift and 200 with one, each of 1,000 people, the same at every run."""
    connection.execute(text("SELECT setseed(0.38)"))
    connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
    for kind in LIFTS:
        connection.execute(SHOPS, {"kind": kind, "simulations": SIMULATIONS})
    connection.execute(FLOWS, {"kinds": list(LIFTS)})
    connection.execute(
        PEOPLE,
        {
            "treated": TREATED,
            "held_out": HELD_OUT,
            "conversion": CONVERSION,
            "mu": MU,
            "sigma": SIGMA,
            "again": AGAIN,
        },
    )


def coverage(connection: Connection) -> dict[tuple[str, str], Any]:
    told = {"truths": json.dumps(truths()), "lifts": json.dumps(LIFTS)}
    return {(row.kind, row.metric): row for row in connection.execute(COVERED, told)}


def test_the_interval_holds_the_truth_in_200_simulations_at_no_lift_and_at_20_percent(
    engine: Engine, marts: Marts
) -> None:
    statement = compiled(marts, "flow_lift")
    both = "sqrt(variance / treated_people + variance / held_out_people) as error"
    one = "sqrt(variance / treated_people) as error"
    assert both in statement
    with engine.connect() as connection:
        simulate(connection)
        fill(connection, "marts.flow_lift", statement)
        found = coverage(connection)
        fill(connection, "marts.flow_lift", statement.replace(both, one))
        wrong = coverage(connection)
        connection.rollback()
    assert len(found) == 6
    for (kind, metric), row in found.items():
        assert row.simulations == SIMULATIONS
        assert row.covered >= 0.9 * SIMULATIONS, (kind, metric, row.covered)
        assert row.relatively_covered >= 0.9 * SIMULATIONS, (kind, metric)
        if kind == "flat":  # at most the one in twenty that an interval of 95 % misses, and chance
            assert row.said_more + row.said_less <= 0.1 * SIMULATIONS
    # The spread of the few people held out is what makes the interval wide; without it, it fails.
    for kind in LIFTS:
        assert wrong[kind, "revenue"].covered < 0.6 * SIMULATIONS
        assert wrong[kind, "orders"].covered < 0.6 * SIMULATIONS
