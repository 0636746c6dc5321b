"""Odd data from the orders on, through the product's own statistics: what docs/rfm.md says of it,
and what numpy makes of the same orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from sqlalchemy import Engine, text

from activation.scoring import ScoringReport, decide_and_apply
from benchmarks.rfm_oracle import score_orders
from core.database import make_session_factory, session_scope
from core.ingestion import statistics
from core.models.enums import GateState
from tests.dbt.oracle import NOT_SCORED
from tests.dbt.shops import LAUNCH
from tests.fixtures.marts import Marts

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Row = tuple[int, int, int, str, bool]
pytestmark = pytest.mark.requirement("RFM-01", "RFM-03")


@dataclass(frozen=True)
class Bought:
    """One order, by default of an own day and amount per customer."""

    customer_id: int
    at: datetime
    total: str
    currency: str = "EUR"
    status: str = "PAID"


def each(customers: int, *, step: timedelta = DAY, total: str | None = None) -> list[Bought]:
    """One order of each customer from 1 on, `step` apart, of 10, 20, 30 … or always `total`."""
    return [
        Bought(number, LAUNCH + step * number, total or f"{10 * number}")
        for number in range(1, customers + 1)
    ]


@dataclass
class Town:
    """One shop that sells in EUR."""

    engine: Engine
    marts: Marts
    orders: int = 0

    def open(self, customers: int, orders: Sequence[Bought]) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(SHOP))
            connection.execute(text(CUSTOMERS), {"count": customers})
        self.sell(orders)

    def sell(self, orders: Sequence[Bought]) -> None:
        """Store orders and bring the statistics in line, as ingestion does at once for both."""
        with session_scope(make_session_factory(self.engine)) as session:
            for order in orders:
                self.orders += 1
                values = {"order_id": self.orders, **vars(order), "total": Decimal(order.total)}
                session.execute(text(ORDER), values)
            statistics.recompute_all(session, 1, touched_at=NOW)

    def run(self, rfm_run_id: str = "run-1") -> ScoringReport:
        self.marts.compute_boundaries(rfm_run_id, NOW)
        return decide_and_apply(
            make_session_factory(self.engine),
            shop_id=1,
            rfm_run_id=rfm_run_id,
            now=NOW,
            run_id=None,
        )

    def scores(self) -> dict[int, Row]:
        with self.engine.begin() as connection:
            rows = connection.execute(text(SCORES)).all()
        return {row.customer_id: tuple(row[1:]) for row in rows}

    def by_numpy(self) -> dict[int, Row]:
        """The same from the orders; who has none is not scored."""
        with self.engine.begin() as connection:
            everybody = connection.execute(text(SCORES)).all()
            orders = np.array(connection.execute(text(COUNTED)).all(), dtype=np.int64)
        columns = orders.reshape(-1, 3)
        scores = score_orders(columns[:, 0], columns[:, 1], columns[:, 2])
        found: dict[int, Row] = {row.customer_id: NOT_SCORED for row in everybody}
        for number, r, f, m, segment in zip(
            *(scores.customer_ids, scores.r, scores.f, scores.m, scores.segments), strict=True
        ):
            found[int(number)] = (int(r), int(f), int(m), str(segment), True)
        return found

    def changes(self) -> int:
        """Stays that began as a change from another segment."""
        with self.engine.begin() as connection:
            return connection.execute(
                text(
                    "SELECT count(*) FROM crm.segment_memberships"
                    " WHERE previous_segment IS NOT NULL"
                )
            ).scalar_one()


SHOP = """
INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, client_secret_encrypted,
    first_sync_started_at, first_sync_completed_at)
VALUES ('odd.myshopify.com', 'Odd', 'EUR', 'UTC', 'c', 's', '2026-01-01', '2026-01-01')
"""
CUSTOMERS = """
INSERT INTO raw_shopify.customers (shop_id, customer_id, created_at, updated_at)
SELECT 1, number, '2026-01-01', '2026-01-01' FROM generate_series(1, :count) AS number
"""
ORDER = """
INSERT INTO raw_shopify.orders (shop_id, order_id, name, customer_id, created_at, updated_at,
    processed_at, is_test, financial_status, currency, current_total, original_total,
    refunded_total)
VALUES (1, :order_id, '#', :customer_id, :at, :at, :at, false, :status, :currency, :total, :total,
    0)
"""
SCORES = """
SELECT customer_id, r_score, f_score, m_score, segment, is_scored FROM marts.customer_segments
"""
COUNTED = """
SELECT customer_id, (extract(epoch FROM processed_at) * 1000000)::bigint,
    CASE WHEN currency = 'EUR' THEN (current_total * 10000)::bigint ELSE 0 END
FROM raw_shopify.orders
WHERE financial_status = 'PAID'
"""


@pytest.fixture
def town(engine: Engine, marts: Marts) -> Town:
    return Town(engine, marts)


@pytest.mark.parametrize("buyers", [0, 1, 4])
def test_below_five_buyers_nobody_is_scored_and_nobody_changes(town: Town, buyers: int) -> None:
    town.open(6, each(buyers))
    assert town.run().state is GateState.ACCEPTED
    assert set(town.scores().values()) == {NOT_SCORED}
    town.sell([Bought(1, NOW, "500")])
    assert town.run("run-2").state is GateState.ACCEPTED
    assert set(town.scores().values()) == {NOT_SCORED}
    assert town.by_numpy() == town.scores()
    assert town.changes() == 0


def test_a_shop_without_customers_is_accepted_and_empty(town: Town) -> None:
    town.open(0, [])
    report = town.run()
    assert (report.state, report.customers, town.scores()) == (GateState.ACCEPTED, 0, {})


def test_the_fifth_buyer_is_scored_by_the_next_run_and_nobody_changed(town: Town) -> None:
    town.open(5, each(4))
    town.run()
    town.sell([Bought(5, NOW, "50")])
    assert set(town.scores().values()) == {NOT_SCORED}
    town.run("run-2")
    assert town.scores()[5] == (5, 1, 5, "new", True)
    assert town.by_numpy() == town.scores()
    assert town.changes() == 0


def test_orders_at_one_instant_leave_all_with_the_lowest_recency(town: Town) -> None:
    town.open(10, each(10, step=timedelta()))
    town.run()
    assert {row[0] for row in town.scores().values()} == {1}
    assert {row[2] for row in town.scores().values()} == {1, 2, 3, 4, 5}
    assert town.by_numpy() == town.scores()


def test_orders_of_one_day_are_told_apart_by_the_hour(town: Town) -> None:
    town.open(10, each(10, step=HOUR))
    town.run()
    recencies = [town.scores()[number][0] for number in range(1, 11)]
    assert recencies == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert town.by_numpy() == town.scores()


def test_equal_totals_leave_all_with_the_lowest_amount(town: Town) -> None:
    town.open(10, each(10, total="25"))
    town.run()
    assert {row[1:3] for row in town.scores().values()} == {(1, 1)}
    assert town.by_numpy() == town.scores()


def test_where_everybody_is_alike_all_are_lost_and_yet_scored(town: Town) -> None:
    town.open(7, each(7, step=timedelta(), total="25"))
    town.run()
    assert set(town.scores().values()) == {(1, 1, 1, "lost", True)}
    assert town.by_numpy() == town.scores()


def test_a_negative_net_total_ranks_below_zero(town: Town) -> None:
    given_back = [Bought(1, LAUNCH + DAY * 40, "-30"), Bought(2, LAUNCH + DAY * 41, "-20")]
    town.open(10, [*each(10), *given_back])
    town.run()
    found = town.scores()
    # 10 - 30 is the least, 20 - 20 the next; both count as a second, later order.
    assert [found[number][:3] for number in (1, 2, 3)] == [(5, 5, 1), (5, 5, 1), (1, 1, 2)]
    assert town.by_numpy() == found


def test_another_currency_counts_as_an_order_and_adds_nothing(town: Town) -> None:
    abroad = [Bought(1, LAUNCH + DAY * 40, "9999", "USD"), Bought(11, LAUNCH, "9999", "USD")]
    town.open(11, [*each(10), *abroad])
    town.run()
    found = town.scores()
    assert found[1][:3] == (5, 5, 1)
    assert found[11][:3] == (1, 1, 1)
    assert town.by_numpy() == found
    with town.engine.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT customer_id, order_count, total_spent FROM raw_shopify.customer_statistics"
                " WHERE foreign_currency_order_count = 1 ORDER BY customer_id"
            )
        ).all()
    assert rows == [(1, 2, Decimal(10)), (11, 1, Decimal(0))]


def test_a_full_refund_of_the_only_order_takes_the_score_at_once(town: Town) -> None:
    town.open(10, each(10))
    town.run()
    assert town.scores()[10][-1]
    with town.engine.begin() as connection:
        connection.execute(
            text("UPDATE raw_shopify.orders SET financial_status = 'REFUNDED' WHERE order_id = 10")
        )
    town.sell([])
    assert town.scores()[10] == NOT_SCORED
    town.run("run-2")
    assert town.by_numpy() == town.scores()


def test_the_future_is_only_the_latest(town: Town) -> None:
    town.open(10, [*each(9), Bought(10, NOW + DAY * 400, "5")])
    town.run()
    assert town.scores()[10][0] == 5
    assert town.by_numpy() == town.scores()
