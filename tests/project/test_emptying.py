"""The database of a test is as new, whatever the one before it did."""

from sqlalchemy import Engine

from core.models import Base
from tests.fixtures.emptying import empty

SHOP = """
INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, client_secret_encrypted)
VALUES ('tea.myshopify.com', 'Tea', 'EUR', 'UTC', 'id', 'x') RETURNING shop_id
"""
MEMBER = """
WITH owner AS (
    INSERT INTO crm.users (email, password_hash) VALUES ('ada@example.com', 'x') RETURNING user_id
)
INSERT INTO crm.shop_members (shop_id, user_id, role) SELECT 1, user_id, 'owner' FROM owner
"""
CUSTOMER = """
INSERT INTO raw_shopify.customers (shop_id, customer_id, created_at, updated_at)
VALUES (1, 7, now(), now())
"""


def test_no_row_no_number_and_no_statistic_is_left(engine: Engine) -> None:
    # A table that a test had analysed and left empty kept its statistics for the next one.
    known = "SELECT reltuples FROM pg_class WHERE oid = 'raw_shopify.customers'::regclass"
    for _ in range(2):
        with engine.begin() as connection:
            assert connection.exec_driver_sql(SHOP).scalar() == 1
            connection.exec_driver_sql(MEMBER)
            connection.exec_driver_sql(CUSTOMER)
            connection.exec_driver_sql("DELETE FROM raw_shopify.customers")
            connection.exec_driver_sql("ANALYZE raw_shopify.customers")
            assert connection.exec_driver_sql(known).scalar() == 0
            empty(connection)
            assert connection.exec_driver_sql(known).scalar() == -1
            for table in Base.metadata.sorted_tables:
                count = f"SELECT count(*) FROM {table.fullname}"
                assert connection.exec_driver_sql(count).scalar() == 0, table.fullname
