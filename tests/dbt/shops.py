"""Made-up shops put straight into the raw tables."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from tests.dbt.oracle import Person

LAUNCH = datetime(2026, 1, 1, tzinfo=UTC)


def add_shops(connection: Connection, shops: Sequence[Sequence[Person]]) -> list[int]:
    """Insert each list of people as a shop of its own; their shop ids in order."""
    shop_ids = []
    for people in shops:
        shop_id = connection.execute(
            text(
                "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id,"
                " client_secret_encrypted) VALUES (gen_random_uuid() || '.myshopify.com', 'Shop',"
                " 'EUR', 'UTC', 'id', 'secret') RETURNING shop_id"
            )
        ).scalar_one()
        add_people(connection, shop_id, people)
        shop_ids.append(shop_id)
    return shop_ids


def add_people(connection: Connection, shop_id: int, people: Sequence[Person]) -> None:
    customers = [
        {
            "shop_id": shop_id,
            "customer_id": person.customer_id,
            "deleted_at": LAUNCH if person.is_deleted else None,
            "at": LAUNCH,
        }
        for person in people
    ]
    statistics = [
        {
            "shop_id": shop_id,
            "customer_id": person.customer_id,
            "order_count": person.order_count,
            "total_spent": person.total_spent,
            "last_order_at": person.last_order_at,
        }
        for person in people
        if person.order_count is not None
    ]
    if customers:
        connection.execute(
            text(
                "INSERT INTO raw_shopify.customers (shop_id, customer_id, deleted_at, created_at,"
                " updated_at) VALUES (:shop_id, :customer_id, :deleted_at, :at, :at)"
            ),
            customers,
        )
    if statistics:
        connection.execute(
            text(
                "INSERT INTO raw_shopify.customer_statistics (shop_id, customer_id, order_count,"
                " total_spent, first_order_at, last_order_at) VALUES (:shop_id, :customer_id,"
                " :order_count, :total_spent, :last_order_at, :last_order_at)"
            ),
            statistics,
        )


def decide(
    connection: Connection,
    shop_id: int,
    rfm_run_id: str,
    *,
    buyer_count: int,
    state: str = "accepted",
    decided_at: datetime = LAUNCH + timedelta(days=300),
) -> None:
    """Record what the data gate said of the run's boundaries."""
    connection.execute(
        text(
            "INSERT INTO crm.rfm_runs (shop_id, rfm_run_id, state, customer_count, buyer_count,"
            " order_count, computed_at, decided_at) VALUES (:shop_id, :rfm_run_id, :state, 0,"
            " :buyer_count, 0, :at, :at)"
        ),
        {
            "shop_id": shop_id,
            "rfm_run_id": rfm_run_id,
            "state": state,
            "buyer_count": buyer_count,
            "at": decided_at,
        },
    )
