"""The dbt project as a whole: it builds, its tests bite, every column is described."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dbt.conftest import FULL_RUN, Warehouse

Changed = Callable[..., Path]


@pytest.mark.requirement("RFM-01", "RFM-03")
def test_a_full_build_passes_every_dbt_test(warehouse: Warehouse) -> None:
    assert "WARN=0 ERROR=0 SKIP=0" in warehouse.build_log
    assert warehouse.scalar("SELECT count(*) FROM marts.rfm_boundaries") == 12


def test_the_schemas_are_exactly_staging_intermediate_and_marts(warehouse: Warehouse) -> None:
    made = warehouse.scalar(
        "SELECT array_agg(nspname ORDER BY nspname) FROM pg_namespace WHERE nspname NOT LIKE"
        " 'pg\\_%' AND nspname NOT IN ('information_schema', 'public', 'crm', 'raw_shopify',"
        " 'raw_shopify_staging')"
    )
    assert made == ["intermediate", "marts", "staging"]


def test_every_model_states_its_grain_and_describes_every_column(warehouse: Warehouse) -> None:
    manifest = json.loads((warehouse.target / "manifest.json").read_text())
    nodes = [
        node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed")
    ]
    assert len(nodes) > 10
    for node in nodes:
        assert node["description"].startswith("One row per "), node["name"]
        actual = warehouse.scalar(
            "SELECT array_agg(attname::text) FROM pg_attribute WHERE attnum > 0 AND NOT"
            f" attisdropped AND attrelid = '{node['schema']}.{node['name']}'::regclass"
        )
        described = {name for name, column in node["columns"].items() if column["description"]}
        assert described == set(actual), node["name"]


def test_a_full_run_repeated_changes_nothing_and_waits_for_no_reader(warehouse: Warehouse) -> None:
    with warehouse.engine.begin() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM marts.customers")
        log = warehouse.dbt("run", environment=FULL_RUN)
    assert "[UNCHANGED in" in log
    assert "[CREATE VIEW in" not in log
    assert "OK created sql incremental model marts.rfm_boundaries" in log
    assert warehouse.scalar("SELECT count(*) FROM marts.rfm_boundaries") == 12


def test_statistics_that_differ_from_the_orders_are_an_error(warehouse: Warehouse) -> None:
    # Run as dbt compiled it, without dbt: its query lists the customers who differ.
    query = next(warehouse.target.rglob("compiled/**/customer_statistics_equal_orders.sql"))
    sql = query.read_text().replace('"ecomcrm_built".', "")
    assert warehouse.scalar(f"SELECT count(*) FROM ({sql}) AS different") == 0
    for change in ("order_count = 8", "total_spent = 1", "last_order_at = now()"):
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE raw_shopify.customer_statistics SET {change} WHERE customer_id = 7"
            )
            differing = connection.exec_driver_sql(sql).all()
            connection.rollback()
        assert [row.customer_id for row in differing] == [7], change


@pytest.mark.requirement("RFM-03")
def test_a_segment_table_with_an_unknown_segment_or_a_gap_is_refused_and_the_former_stays(
    warehouse: Warehouse, changed_project: Changed
) -> None:
    # The views read the table at once: a wrong one must not be there even between seed and test.
    champions = "SELECT count(*) FROM marts.customers WHERE segment = 'champion'"
    before = warehouse.scalar(champions)
    project = changed_project({"rfm_segments.csv": ("5,5,5,champion\n5,5,4,champion", "5,5,5,vip")})
    log = warehouse.dbt("seed", project=project, check=False)
    assert "R5 F5 M4 has 0 rows" in log
    assert "unknown segment 'vip' at R5 F5 M5" in log
    assert warehouse.scalar("SELECT count(*) FROM intermediate.rfm_segments") == 125
    assert warehouse.scalar(champions) == before > 0
