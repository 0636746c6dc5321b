"""Reports wait for the scores, and the scores for no report; nothing that is wrong keeps them from
saying so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import pytest
from sqlalchemy import Engine

from core.clock import MovableClock
from core.database import SessionFactory
from core.dbt import docs_file
from core.settings import Settings
from orchestration.platform.defs.segmentation.jobs import score_customers
from orchestration.platform.defs.transformation import assets, sensors
from orchestration.platform.defs.transformation.assets import dbt_models, dbt_reports
from orchestration.platform.defs.transformation.jobs import build_reports
from orchestration.platform.defs.transformation.sensors import next_build, reports_sensor
from orchestration.shared.names import DECISIONS_TAG
from orchestration.shared.runtime import Runtime
from tests.activation.fake_provider import FakeProvider
from tests.activation.scores import people, score
from tests.activation.world import World
from tests.fixtures.marts import Marts

pytestmark = pytest.mark.usefixtures("process_environment")


def names(definition: dg.AssetsDefinition, *, schema: str) -> set[str]:
    return {key.path[-1] for key in definition.keys if key.path[0] == schema}


def test_scores_are_built_without_the_reports() -> None:
    scores = {"customers", "customer_rfm", "customer_segments", "rfm_boundaries"}
    assert names(dbt_models, schema="marts") == scores
    reports = names(dbt_reports, schema="marts")
    assert {"daily_revenue", "customer_cohorts", "segment_history", "data_health"} <= reports
    assert not reports & scores


@pytest.fixture
def world(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, marts: Marts
) -> World:
    made = World(session_factory, settings, clock, FakeProvider())
    made.shop_id = made.add_shop(baseline_at=None)
    people(made, 20)
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def look(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """One tick of a sensor that remembers nothing, as after any restart."""
    context = dg.build_sensor_context(instance=instance, resources={"runtime": Runtime()})
    result = reports_sensor(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def begin(
    instance: dg.DagsterInstance,
    job: str,
    status: dg.DagsterRunStatus,
    request: dg.RunRequest | None = None,
) -> None:
    """A run of this name, as Dagster keeps it."""
    run = dg.GraphDefinition(name=job).to_job()
    tags = dict(request.tags) if request else {}
    instance.create_run_for_job(run, status=status, tags=tags)


def builds(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    return list(instance.get_run_records(dg.RunsFilter(job_name=build_reports.name)))


@pytest.mark.requirement("RFM-05")
def test_scores_that_came_before_the_daemon_get_their_reports_once(
    world: World, marts: Marts, instance: dg.DagsterInstance
) -> None:
    """The sensor's cursor over runs began when the daemon was ready, a moment after the first
    scores: a new installation had no report and no documentation until the next night."""
    assert isinstance(look(instance), dg.SkipReason)
    score(world, marts, "r1")
    asked = look(instance)
    assert isinstance(asked, dg.RunRequest)
    assert look(instance) == asked  # Dagster starts one run per key, and is told no other
    begin(instance, build_reports.name, dg.DagsterRunStatus.STARTED, asked)
    assert isinstance(look(instance), dg.SkipReason)
    begin(instance, build_reports.name, dg.DagsterRunStatus.SUCCESS, asked)
    assert isinstance(look(instance), dg.SkipReason)


def test_each_decision_gets_reports_of_its_own_after_the_whole_run(
    world: World, marts: Marts, instance: dg.DagsterInstance
) -> None:
    score(world, marts, "r1")
    first = look(instance)
    assert isinstance(first, dg.RunRequest)
    begin(instance, build_reports.name, dg.DagsterRunStatus.SUCCESS, first)
    begin(instance, score_customers.name, dg.DagsterRunStatus.STARTED)
    world.clock.advance(timedelta(days=1))
    world.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    assert score(world, marts, "r2").reason
    assert isinstance(look(instance), dg.SkipReason)  # other shops may still be decided
    [run] = instance.get_runs(dg.RunsFilter(job_name=score_customers.name))
    instance.report_run_canceled(run)
    held = look(instance)
    assert isinstance(held, dg.RunRequest)
    begin(instance, build_reports.name, dg.DagsterRunStatus.SUCCESS, held)
    # A person accepts it: another decision.
    world.execute("UPDATE crm.rfm_runs SET state = 'accepted' WHERE rfm_run_id = 'r2'")
    accepted = look(instance)
    assert isinstance(accepted, dg.RunRequest)
    assert len({request.run_key for request in (first, held, accepted)}) == 3


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        (dg.DagsterRunStatus.FAILURE, sensors.RETRY_AFTER),
        (dg.DagsterRunStatus.STARTED, sensors.DEAD_AFTER),  # its process was killed
    ],
)
def test_what_failed_is_tried_again_and_not_at_once(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, waits: timedelta
) -> None:
    first = next_build("abc", [], now=datetime.now(UTC))
    assert isinstance(first, dg.RunRequest)
    assert first.tags[DECISIONS_TAG] == "abc"
    begin(instance, build_reports.name, status, first)
    now = datetime.now(UTC)
    assert isinstance(next_build("abc", builds(instance), now=now), dg.SkipReason)
    later = now + waits
    again = next_build("abc", builds(instance), now=later)
    assert isinstance(again, dg.RunRequest)
    assert again.run_key != first.run_key  # or Dagster would take it for the one that failed


Written: TypeAlias = list[tuple[str, Path]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Documentation that was asked for; dbt really makes it in tests/dbt/test_docs.py."""
    pages: Written = []

    def generate(database_url: str, home: Path) -> Path:
        pages.append((database_url, home))
        page = docs_file(home)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("page")
        return page

    monkeypatch.setattr(assets, "generate_docs", generate)
    return pages


def run_job(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    from orchestration.platform.definitions import defs  # noqa: PLC0415 - imports dagster_dbt

    job = defs().get_repository_def().get_job(build_reports.name)
    return job.execute_in_process(instance=instance, raise_on_error=False)


@pytest.mark.requirement("RFM-05")
# dagster_dbt's own, with the Dagster of the same day.
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_bad_data_is_reported_by_the_reports_and_does_not_stop_them(
    world: World, marts: Marts, instance: dg.DagsterInstance, written: Written, engine: Engine
) -> None:
    """A dbt test that failed kept dbt from building `data_health`, which tells of it, and Dagster
    from writing the documentation: a shop that was held had neither."""
    score(world, marts, "r1")
    world.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    assert score(world, marts, "r2").reason
    done = run_job(instance)
    assert done.success
    checks = {each.check_name: each for each in done.get_asset_check_evaluations()}
    failed = {name: check.severity for name, check in checks.items() if not check.passed}
    assert failed == {"customer_statistics_equal_orders": dg.AssetCheckSeverity.ERROR}
    assert len(checks) > 30
    with engine.connect() as connection:
        unhealthy = connection.exec_driver_sql(
            "SELECT check_name, measure FROM marts.data_health WHERE NOT is_healthy"
        ).all()
        days = connection.exec_driver_sql("SELECT sum(order_count) FROM marts.daily_revenue")
        assert days.scalar_one() == 27
    assert ("statistics_equal_orders", 1) in unhealthy
    assert ("segments_are_not_held", 1) in unhealthy
    assert len(written) == 1
    said = [each.message for each in instance.all_logs(done.run_id) if each.level == ERROR]
    assert [each for each in said if "1 of dbt's tests failed" in each]


ERROR = 40


def test_a_report_that_cannot_be_built_fails_the_run_and_leaves_the_documentation(
    instance: dg.DagsterInstance,
    settings: Settings,
    written: Written,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> Iterator[Any]:
        raise dg.Failure("Model daily_revenue could not be built.")

    monkeypatch.setattr(assets, "build", refuse)
    done = run_job(instance)
    assert not done.success
    assert written == [(settings.database_url.get_secret_value(), settings.home)]
    ended = [
        each.step_key for each in done.all_events if each.is_step_failure or each.is_step_success
    ]
    assert ended == ["dbt_reports", "docs__data_docs"]
