"""A shop of many buyers straight into the raw tables, made by Postgres itself.

Skewed as shops are: a fifth of the buyers ordered once, half of them up to three times, a few
hundreds of times, and one customer in twelve never. Heavy with ties: whole hours and prices of a
short list, so that equal values meet at every boundary.
"""

from typing import Final

import psycopg

ORDERS_PER_CUSTOMER: Final = 5

# Without its indexes, which are made anew at the end: a third of the time.
_INDEXES = """
SELECT format('DROP INDEX raw_shopify.%I', indexname), indexdef
FROM pg_indexes
WHERE schemaname = 'raw_shopify' AND tablename = 'orders' AND indexname LIKE 'ix%'
"""

_STEPS: Final = {
    "customers": """
INSERT INTO raw_shopify.customers (
    shop_id, customer_id, email, first_name, last_name, locale, created_at, updated_at
)
SELECT
    1, 1000000 + number, 'buyer' || number || '@example.com', 'Buyer', 'N' || number, 'en',
    timestamptz '2024-01-01 00:00:00+00', timestamptz '2026-11-01 00:00:00+00'
FROM generate_series(1, %(customers)s) AS number
""",
    # The cube makes few customers order often; `customer` is spread by a prime, so that neighbours
    # in the table are not alike.
    "orders": """
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, created_at, updated_at, processed_at, is_test,
    financial_status, currency, current_total, original_total, refunded_total
)
SELECT
    1, 5000000 + number, '#' || number,
    CASE WHEN number %% 50 <> 0 THEN 1000001 + (rank * 7919) %% %(customers)s END,
    at, at, at, number %% 200 = 0, 'PAID', 'EUR', price, price, 0
FROM (
    SELECT
        number,
        floor(%(customers)s * power(random(), 3))::bigint AS rank,
        timestamptz '2024-11-24 00:00:00+00'
        + interval '1 hour' * floor(17520 * sqrt(random())) AS at,
        (5 * ceil(20 * random() * random()) - 0.05)::numeric(20, 4) AS price
    FROM generate_series(1, %(orders)s) AS number
) AS drawn
""",
    "statistics": """
INSERT INTO raw_shopify.customer_statistics (
    shop_id, customer_id, order_count, total_spent, first_order_at, last_order_at
)
SELECT 1, customer_id, count(*), sum(current_total), min(processed_at), max(processed_at)
FROM raw_shopify.orders
WHERE shop_id = 1 AND customer_id IS NOT NULL AND is_counted
GROUP BY customer_id
""",
}


def fill(connection: psycopg.Connection, customers: int) -> None:
    """`customers` people and five times as many orders for shop 1; same rows each time."""
    parameters = {"customers": customers, "orders": customers * ORDERS_PER_CUSTOMER}
    indexes = connection.execute(_INDEXES).fetchall()
    for drop, _ in indexes:
        connection.execute(drop)
    connection.execute("SELECT setseed(0.42)")
    for step in _STEPS.values():
        connection.execute(step, parameters)
    connection.execute("SET maintenance_work_mem = '512MB'")
    for _, create in indexes:
        connection.execute(create)
    connection.execute("RESET maintenance_work_mem")
    connection.execute(
        "UPDATE crm.shops SET first_sync_started_at = '2026-11-01', first_sync_completed_at ="
        " '2026-11-02'"
    )
    connection.commit()
    settle(connection)


def settle(connection: psycopg.Connection) -> None:
    """What autovacuum does in time: figures without its starting in the middle of them."""
    connection.autocommit = True
    connection.execute("VACUUM (ANALYZE, FREEZE)")
    connection.autocommit = False
