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
            while not self.stopped.is_set():
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
    # The stock materialization drops the old view with cascade: "relation does not exist".
    before = definition(warehouse, "marts.customer_rfm")
    project = changed_project(
        {
            "customer_rfm.sql": ALIKE,
            "stg_shopify__customers.sql": ("deleted_at is not null", "not deleted_at is null"),
        }
    )
    with reading(warehouse) as reader:
        log = warehouse.dbt(
            "build", "--exclude-resource-type", "test", "unit_test", project=project
        )
    assert "OK created sql view model marts.customer_rfm" in log
    assert reader.errors == []
    assert reader.reads > 100
    assert definition(warehouse, "marts.customer_rfm") != before


def test_a_broken_contract_stops_the_model_and_leaves_its_view(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    before = definition(warehouse, "marts.customer_segments")
    project = changed_project(
        {"customer_segments.sql": ("scores.order_count,", "scores.order_count::bigint,")}
    )
    log = warehouse.dbt("run", "--select", "customer_segments", project=project, check=False)
    assert "This model has an enforced contract that failed" in log
    assert definition(warehouse, "marts.customer_segments") == before


def test_a_new_last_column_is_added_in_place_and_a_removed_one_rebuilds(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    oid = "SELECT 'staging.stg_crm__shops'::regclass::oid"
    before = warehouse.scalar(oid)
    wider = changed_project(
        {"stg_crm__shops.sql": ("    baseline_at\n", "    baseline_at,\n    accent_color\n")}
    )
    warehouse.dbt("run", "--select", "stg_crm__shops", project=wider)
    assert warehouse.scalar(oid) == before
    assert warehouse.scalar("SELECT accent_color FROM staging.stg_crm__shops")
    warehouse.dbt("run", "--select", "stg_crm__shops")
    assert warehouse.scalar(oid) != before
