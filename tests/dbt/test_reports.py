"""Revenue by day and cohorts are those of the definition, over shops of every shape."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.ingestion.statistics import recompute_all
from tests.dbt.sales_oracle import Books, Order
from tests.fixtures.marts import AS_OF_MARK, Marts

START = datetime(2025, 10, 20, tzinfo=UTC)
AS_OF = datetime(2026, 2, 10, 22, 30, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland", "UTC")


def random_books(chance: random.Random, zone: str) -> Books:
    """Orders around midnights, month ends and changes of the clock; guests, tests, refunds."""
    orders = []
    for order_id in range(1, chance.choice([1, 2, 60, 120])):
        at = START + timedelta(minutes=30 * chance.randrange(48 * 110))
        original = Decimal(chance.choice([0, 10, 25, 99]))
        refunded = original * chance.choice([0, 0, 0, 1]) or min(original, chance.choice([0, 5]))
        back = ((at + timedelta(days=chance.randrange(20)), Decimal(refunded)),) if refunded else ()
        orders.append(
            Order(
                order_id,
                chance.choice([None, *range(1, 40)]),
                at,
                chance.choice(["EUR", "EUR", "EUR", "USD"]),
                original,
                Decimal(refunded),
                is_test=chance.random() < 0.1,
                refunds=back,
            )
        )
    return Books(orders, "EUR", ZoneInfo(zone), AS_OF.astimezone(ZoneInfo(zone)).date())


def add_books(engine: Engine, books: Books) -> int:
    with engine.begin() as connection:
        shop_id = connection.execute(
            text(
                "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id,"
                " client_secret_encrypted) VALUES (gen_random_uuid() || '.myshopify.com', 'Shop',"
                " 'EUR', :zone, 'id', 'secret') RETURNING shop_id"
            ),
            {"zone": books.zone.key},
        ).scalar_one()
        for order in books.orders:
            connection.execute(
                text(
                    "INSERT INTO raw_shopify.orders (shop_id, order_id, name, customer_id,"
                    " created_at, updated_at, processed_at, is_test, currency, current_total,"
                    " original_total, refunded_total) VALUES (:shop_id, :order_id, '#',"
                    " :customer_id, :at, :at, :at, :is_test, :currency, :current, :original,"
                    " :refunded)"
                ),
                {
                    "shop_id": shop_id,
                    "order_id": order.order_id,
                    "customer_id": order.customer_id,
                    "at": order.processed_at,
                    "is_test": order.is_test,
                    "currency": order.currency,
                    "current": order.original - order.refunded,
                    "original": order.original,
                    "refunded": order.refunded,
                },
            )
            for number, (at, amount) in enumerate(order.refunds):
                connection.execute(
                    text(
                        "INSERT INTO raw_shopify.refunds VALUES (:shop_id, :refund_id, :order_id,"
                        " :at, :amount, :currency)"
                    ),
                    {
                        "shop_id": shop_id,
                        "refund_id": 10 * order.order_id + number,
                        "order_id": order.order_id,
                        "at": at,
                        "amount": amount,
                        "currency": order.currency,
                    },
                )
    return int(shop_id)


@pytest.fixture
def report(engine: Engine, marts: Marts) -> Callable[[str, str], list[Any]]:
    """Rows of a table as dbt would build it now: (name, columns) by the compiled statement.

    The views below were compiled with another time of the run; the one that reads it is replaced in
    the transaction of the question.
    """
    compiled = marts.target / "compiled" / "ecomcrm" / "models"
    mark = f"'{AS_OF_MARK.isoformat()}'"

    def rows(name: str, columns: str) -> list[Any]:
        observed = (compiled / "intermediate" / "int_shops_observed.sql").read_text()
        table = next(compiled.rglob(f"{name}.sql")).read_text()
        with psycopg.connect(marts.url) as connection:
            connection.execute(
                f"CREATE OR REPLACE VIEW intermediate.int_shops_observed AS"
                f" {observed.replace(mark, repr(AS_OF.isoformat()))}".encode()
            )
            found = connection.execute(f"SELECT {columns} FROM ({table}) AS report".encode())
            result = found.fetchall()
            connection.rollback()
        return result

    return rows


def test_days_and_cohorts_are_those_of_the_definition_over_random_shops(
    engine: Engine, report: Callable[[str, str], list[Any]]
) -> None:
    chance = random.Random(20261125)  # noqa: S311 - repeatable, not secret
    shops = {}
    for zone in ZONES * 4:
        books = random_books(chance, zone)
        shops[add_books(engine, books)] = books
    with Session(engine) as session, session.begin():
        for shop_id in shops:
            recompute_all(session, shop_id, touched_at=AS_OF)
    days: dict[int, dict[Any, Any]] = {shop_id: {} for shop_id in shops}
    for shop_id, day, *figures in report(
        "daily_revenue",
        "shop_id, order_date, order_count, customer_count, new_customer_count, guest_order_count,"
        " net_revenue, new_customer_revenue, refunded_amount",
    ):
        days[shop_id][day] = tuple(figures)
    cohorts: dict[int, dict[Any, Any]] = {shop_id: {} for shop_id in shops}
    for shop_id, month, number, *figures in report(
        "customer_cohorts",
        "shop_id, cohort_month, month_number, cohort_size, active_customer_count, order_count,"
        " net_revenue, cumulative_revenue",
    ):
        cohorts[shop_id][month, number] = tuple(figures)
    assert sum(map(len, cohorts.values())) > 100
    for shop_id, books in shops.items():
        assert days[shop_id] == books.daily(), books.zone
        assert cohorts[shop_id] == books.cohorts(), books.zone
