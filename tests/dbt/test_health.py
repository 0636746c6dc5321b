"""The tests of the dbt project bite, and nothing it builds holds what it must not."""

import re
from collections.abc import Callable

import pytest

from core.models import Base
from tests.dbt.conftest import Warehouse

# Of a person who logs in, of a vendor, or of what somebody wrote: never in what dbt builds.
SECRET = re.compile(r"password|secret|csrf|_hash|encrypted|^body$|^content$|^export$|^subject$")
OF_A_PERSON = re.compile(r"customer_id|email|phone|first_name|last_name|locale|^tags$|address")
COLUMNS = """
SELECT string_agg(concat_ws('.', nspname, relname, attname), ',' ORDER BY relname, attname)
FROM pg_attribute
INNER JOIN pg_class ON pg_class.oid = attrelid
INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE
    nspname IN ('staging', 'intermediate', 'marts')
    AND relkind = ANY('{%s}'::"char"[]) AND attnum > 0 AND NOT attisdropped
"""


@pytest.fixture
def failures(warehouse: Warehouse) -> Callable[..., int]:
    """Rows that a test of the project finds, run as dbt compiled it, after `changes`."""

    def count(name: str, *changes: str) -> int:
        query = next(warehouse.target.rglob(f"compiled/**/{name}.sql"))
        sql = query.read_text().replace('"ecomcrm_built".', "")
        with warehouse.engine.begin() as connection:
            for change in changes:
                connection.exec_driver_sql(change)
            found = connection.exec_driver_sql(f"SELECT count(*) FROM ({sql}) AS failures").scalar()
            connection.rollback()
        return int(found or 0)

    return count


MORE = (
    "UPDATE raw_shopify.orders SET current_total = 11, loaded_at = loaded_at WHERE order_id = 705"
)
LATE = MORE.replace("loaded_at = loaded_at", "loaded_at = clock_timestamp()")
STAY = (
    "INSERT INTO crm.segment_memberships (shop_id, customer_id, segment, previous_segment,"
    " entered_at, exited_at, cause, r_score, f_score, m_score) VALUES (1, 7, '{}', {}, '{}', {},"
    " 'order', 1, 1, 1)"
)
FIRST = STAY.format("new", "NULL", "2026-01-01", "'2026-01-05'")

SYNCED = (
    "INSERT INTO raw_shopify.sync_runs (shop_id, kind, state, started_at, finished_at,"
    " lines_rejected) VALUES (1, 'full', 'completed', '2026-11-18', '2026-11-18 21:00', 4)"
)
GONE = (
    "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, uninstalled_at,"
    " client_secret_encrypted) VALUES ('gone', 'Gone', 'EUR', 'UTC', 'id', now(), 'x')"
)


@pytest.mark.parametrize(
    ("name", "changes", "is_found"),
    [
        ("orders_mart_equals_raw", [MORE], False),
        ("orders_mart_equals_raw", ["UPDATE crm.shops SET currency = 'USD'"], False),
        (
            "customers_mart_equals_raw",
            ["UPDATE raw_shopify.customers SET deleted_at = now()"],
            False,
        ),
        ("reports_equal_orders", [], False),
        ("reports_equal_orders", [MORE], True),
        ("reports_equal_orders", [LATE], False),
        ("reports_equal_orders", ["DELETE FROM marts.daily_revenue WHERE net_revenue = 120"], True),
        ("reports_equal_orders", ["UPDATE marts.daily_revenue SET guest_revenue = 1"], True),
        ("reports_equal_orders", ["UPDATE marts.customer_cohorts SET cohort_size = 13"], True),
        ("segment_stays_do_not_overlap", [FIRST], False),
        (
            "segment_stays_do_not_overlap",
            [FIRST, STAY.format("lost", "'new'", "2026-01-05", "NULL")],
            False,
        ),
        (
            "segment_stays_do_not_overlap",
            [FIRST, STAY.format("lost", "'new'", "2026-01-04", "NULL")],
            True,
        ),
        (
            "segment_stays_do_not_overlap",
            [FIRST, STAY.format("lost", "'loyal'", "2026-01-05", "NULL")],
            True,
        ),
    ],
)
def test_what_does_not_add_up_is_found(
    failures: Callable[..., int], name: str, changes: list[str], is_found: bool
) -> None:
    assert (failures(name, *changes) > 0) is is_found


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("orders_mart_equals_raw", "orders"),
        ("order_lines_mart_equals_raw", "order_lines"),
        ("customers_mart_equals_raw", "customers"),
    ],
)
def test_a_mart_that_loses_or_doubles_rows_is_found(
    warehouse: Warehouse, failures: Callable[..., int], name: str, view: str
) -> None:
    line = (
        "INSERT INTO raw_shopify.order_lines (shop_id, line_id, order_id, title, quantity,"
        " current_quantity, unit_price, currency) VALUES (1, 1, 705, 'Mug', 2, 2, 5, 'EUR')"
    )
    definition = str(warehouse.scalar(f"SELECT pg_get_viewdef('marts.{view}'::regclass)"))
    body = definition.rstrip("; \n")
    replace = f"CREATE OR REPLACE VIEW marts.{view} AS "
    assert failures(name, line) == 0
    assert failures(name, line, replace + f"SELECT * FROM ({body}) AS x OFFSET 1") > 0
    twice = f"({body}) UNION ALL ({body})"
    assert failures(name, line, replace + twice) > 0


def test_a_check_of_the_data_says_what_is_wrong(warehouse: Warehouse) -> None:
    with warehouse.engine.begin() as connection:
        for statement in (
            "UPDATE raw_shopify.customer_statistics SET total_spent = 1 WHERE customer_id = 7",
            "UPDATE raw_shopify.orders SET currency = 'USD' WHERE order_id IN (301, 302)",
            "UPDATE crm.shops SET segments_held_at = now()",
            SYNCED,
            GONE,
        ):
            connection.exec_driver_sql(statement)
    query = next(warehouse.target.rglob("compiled/**/data_health.sql"))
    sql = query.read_text().replace('"ecomcrm_built".', "")
    with warehouse.engine.begin() as connection:
        rows = connection.exec_driver_sql(sql).all()
    assert {row.shop_id for row in rows} == {1}
    assert len(rows) == 12
    unhealthy = {row.check_name: float(row.measure) for row in rows if row.is_healthy is False}
    assert unhealthy == {
        "statistics_equal_orders": 2,
        "orders_are_in_the_shops_currency": 2,
        "segments_are_not_held": 1,
        "sync_is_recent": 30.0,
        "lines_are_read": 4,
    }
    assert [row.check_name for row in rows if row.is_healthy is None] == ["consent_is_known"]


def test_every_table_of_shopifys_data_has_a_staging_model(warehouse: Warehouse) -> None:
    raw = {table.name for table in Base.metadata.sorted_tables if table.schema == "raw_shopify"}
    models = str(
        warehouse.scalar(
            "SELECT string_agg(relname, ' ') FROM pg_class"
            " WHERE relnamespace = 'staging'::regnamespace"
        )
    ).split()
    assert {name.removeprefix("stg_shopify__") for name in models if "shopify" in name} == raw


@pytest.mark.requirement("SHOP-07")
def test_no_model_has_a_secret_and_no_table_of_dbt_has_a_person_whom_erasing_would_not_reach(
    warehouse: Warehouse,
) -> None:
    """Views show what is there: erasing reaches them by itself. Of tables it deletes the rows with
    the person's `customer_id` (activation/privacy/built.py), so a person must be found by that.
    """
    columns = str(warehouse.scalar(COLUMNS % "v,r,m")).split(",")
    assert len(columns) > 300
    assert [each for each in columns if SECRET.search(each.rpartition(".")[2])] == []
    tables: dict[str, set[str]] = {}
    for each in str(warehouse.scalar(COLUMNS % "r,m")).split(","):
        table, _, column = each.rpartition(".")
        tables.setdefault(table, set()).add(column)
    assert "marts.daily_revenue" in tables
    for table, names in tables.items():
        if any(OF_A_PERSON.search(name) for name in names):
            assert {"shop_id", "customer_id"} <= names, table


def test_data_that_no_sync_has_looked_at_for_two_days_is_stale(warehouse: Warehouse) -> None:
    """A quiet shop is not stale for want of orders; a shop that left is not waited for."""
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql(GONE)
        connection.exec_driver_sql(
            "INSERT INTO raw_shopify.sync_runs (shop_id, kind, state, started_at, finished_at)"
            " SELECT shop_id, 'full', 'completed', now(), now() - CASE WHEN uninstalled_at IS NULL"
            " THEN interval '30 hours' ELSE interval '300 hours' END FROM crm.shops"
        )
    log = warehouse.dbt("source", "freshness")
    assert log.count("WARN freshness of raw_shopify.") == 6
    assert "ERROR STALE" not in log
