"""Reports wait for the scores, and the scores for no report."""

import dagster as dg
import pytest
from sqlalchemy import Engine

from core.dbt import docs_file
from core.settings import Settings
from orchestration.platform.defs.segmentation.jobs import score_customers
from orchestration.platform.defs.transformation import assets
from orchestration.platform.defs.transformation.assets import data_docs, dbt_models, dbt_reports
from orchestration.platform.defs.transformation.sensors import reports_sensor
from orchestration.shared.runtime import Runtime
from tests.fixtures.marts import Marts


def names(definition: dg.AssetsDefinition, *, schema: str) -> set[str]:
    return {key.path[-1] for key in definition.keys if key.path[0] == schema}


def test_scores_are_built_without_the_reports() -> None:
    scores = {"customers", "customer_rfm", "customer_segments", "rfm_boundaries"}
    assert names(dbt_models, schema="marts") == scores
    reports = names(dbt_reports, schema="marts")
    assert {"daily_revenue", "customer_cohorts", "segment_history", "data_health"} <= reports
    assert not reports & scores


def test_reports_follow_a_full_run_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        @dg.job(name=score_customers.name)
        def full_run() -> None: ...

        result = full_run.execute_in_process(instance=instance)
        context = dg.build_run_status_sensor_context(
            sensor_name="reports_sensor",
            dagster_event=result.get_run_success_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        )
        asked = [reports_sensor(context), reports_sensor(context)]
    assert {each.run_key for each in asked} == {result.dagster_run.run_id}


@pytest.mark.usefixtures("process_environment")
def test_documentation_is_made_where_the_web_app_looks(
    marts: Marts, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(database_url: str, home: object) -> object:
        page = docs_file(settings.home)
        page.parent.mkdir(parents=True)
        page.write_text(database_url)
        assert home == settings.home
        return page

    monkeypatch.setattr(assets, "generate_docs", generate)
    result = data_docs(runtime=Runtime())
    assert isinstance(result, dg.MaterializeResult)
    assert docs_file(settings.home).read_text() == settings.database_url.get_secret_value()
