"""Activation reads the views all the time; `dbt run` must never take one away."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.dbt.conftest import Warehouse
from tests.fixtures.marts import libpq_url

Changed = Callable[..., Path]
SCORED = "intermediate.int_customers_scored_by_boundaries"
ALIKE = ("concat(r_score, f_score, m_score) as", "r_score::text || f_score || m_score as")


class Reader:
    """Reads a view in a loop, each time in a new transaction, and keeps what went wrong."""

    def __init__(self, url: str, sql: str) -> None:
        self.url, self.sql = url, sql
        self.reads = 0
        self.errors: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.stopped.wait(0.002):
                try:
                    rows = connection.execute(self.sql, prepare=False).fetchone()
                except psycopg.Error as error:
                    self.errors.append(str(error))
                else:
                    assert rows is not None
                    self.reads += 1
                    if rows[0] != 12:
                        self.errors.append(f"{rows[0]} customers")


@contextmanager
def reading(warehouse: Warehouse) -> Iterator[Reader]:
    reader = Reader(
        libpq_url(warehouse.url),
        "SELECT count(segment) FROM marts.customer_segments JOIN marts.customers USING"
        " (shop_id, customer_id, segment)",
    )
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        yield reader
    finally:
        reader.stopped.set()
        thread.join(timeout=10)


def definition(warehouse: Warehouse, view: str) -> str:
    return str(warehouse.scalar(f"SELECT pg_get_viewdef('{view}'::regclass)"))


@pytest.mark.requirement("RFM-06")
def test_readers_see_no_error_while_views_are_replaced_and_seeds_reloaded(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    # dbt's stock materialization drops the old view with cascade: thousands of reads in this test
    # failed with "relation does not exist", and readers could deadlock with it.
    before = definition(warehouse, SCORED)
    project = changed_project(
        {
            "int_customers_scored_by_boundaries.sql": ALIKE,
            "stg_shopify__customers.sql": (
                "    merged_into as merged_into_customer_id\n",
                "    merged_into as merged_into_customer_id,\n    loaded_at\n",
            ),
        }
    )
    with reading(warehouse) as reader:
        warehouse.dbt("build", "--exclude-resource-type", "test", "unit_test", project=project)
    assert reader.errors == []
    assert reader.reads > 100
    assert definition(warehouse, SCORED) != before
    assert warehouse.scalar("SELECT count(loaded_at) FROM staging.stg_shopify__customers") == 12


def test_a_broken_contract_stops_the_model_and_leaves_its_view(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    before = definition(warehouse, "marts.customer_segments")
    project = changed_project(
        {"customer_segments.sql": ("    order_count,", "    order_count::bigint as order_count,")}
    )
    log = warehouse.dbt("run", "--select", "customer_segments", project=project, check=False)
    assert "This model has an enforced contract that failed" in log
    assert definition(warehouse, "marts.customer_segments") == before


def test_a_removed_column_has_the_view_and_those_on_it_rebuilt(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    project = changed_project(
        {"stg_crm__rfm_runs.sql": ("    computed_at,\n    decided_at,\n", "    decided_at,\n")}
    )
    warehouse.dbt("run", "--select", "stg_crm__rfm_runs+", project=project)
    assert "computed_at" not in definition(warehouse, "staging.stg_crm__rfm_runs")
    assert warehouse.scalar("SELECT count(*) FROM marts.customers") == 12
    assert warehouse.scalar("SELECT count(*) FROM marts.rfm_boundaries") == 12
