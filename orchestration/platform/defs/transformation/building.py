"""How a run starts dbt: with the settings of this installation, and without starting it twice."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any, Final

import dagster as dg
from dagster_dbt import DbtCliResource
from packaging.version import Version

from core.dbt import EXECUTABLE, dbt_environment, kept_parse
from core.paths import DBT_PROJECT
from orchestration.shared.runtime import Runtime

# Written by `dbt parse` at set-up, never here: loading definitions must not start processes.
MANIFEST: Final = DBT_PROJECT / "target" / "manifest.json"

# Unit tests prove the SQL on made-up rows, which `make test` does; nightly they only cost time.
_BUILD: Final = ["build", "--exclude-resource-type", "unit_test"]


class Dbt(DbtCliResource):
    """The dbt of this environment, of which two things are known without asking.

    dagster_dbt would start it once more for its version (4 s), and read the whole project into this
    process for questions about columns (1 s) that nobody here asks.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> None:  # type: ignore[override]
        """None, and the events of a run are the same."""


def build(context: dg.AssetExecutionContext, runtime: Runtime, **environment: str) -> Iterator[Any]:
    """`dbt build` of the assets in `context`, with its tests but not its unit tests.

    Raises when a model, or a test that is an error here, fails; the events of all else come first.
    """
    settings = runtime.settings
    dbt = Dbt(
        project_dir=os.fspath(DBT_PROJECT),
        profiles_dir=os.fspath(DBT_PROJECT),
        dbt_executable=os.fspath(EXECUTABLE),
    )
    target = settings.home / "dbt" / context.run.run_id
    # What differs from run to run is not said as `--vars`: dbt would parse all models anew.
    # A test of two models runs where both are there: `eager`, dbt's default, would test reports
    # before they are built.
    told = {
        "DBT_INDIRECT_SELECTION": "buildable",
        "ECOMCRM_DBT_AS_OF": runtime.clock.now().isoformat(),
    }
    told |= dbt_environment(settings.database_url.get_secret_value()) | environment
    try:
        with kept_parse(settings.home, context.assets_def.op.name, target), _environment(told):
            yield from dbt.cli(_BUILD, context=context, target_path=target).stream()
    finally:
        # Artifacts of a run are in Dagster's events; a folder a run would fill the disk.
        shutil.rmtree(target, ignore_errors=True)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for a while: dbt looks nowhere else, and this process runs one run."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def tell_failures(context: dg.AssetExecutionContext, events: Iterator[Any]) -> Iterator[Any]:
    """Pass the events of a build on whose tests are warnings to dbt, so that it goes on building
    what depends on them; what failed is a failed check all the same, and has the last word.
    """
    failed: list[str] = []
    for event in events:
        name = _failed_test(event)
        if name is None:
            yield event
            continue
        failed.append(name)
        yield _as_error(event) if isinstance(event, dg.AssetCheckResult) else event
    if failed:
        context.log.error(
            "All is built, but %d of dbt's tests failed; the data is not as it should be: %s",
            len(set(failed)),
            ", ".join(sorted(set(failed))),
        )


def _failed_test(event: object) -> str | None:
    """The name of a test that failed; None for all else, and for those that only ever warn."""
    if not isinstance(event, (dg.AssetCheckResult, dg.AssetObservation)):
        return None
    test = str(event.metadata["unique_id"].value)
    if event.metadata["status"].value == "pass" or _severities()[test] == "warn":
        return None
    return test.split(".")[2]


@cache
def _severities() -> Mapping[str, str]:
    """Of each test as the project says it."""
    nodes = json.loads(MANIFEST.read_bytes())["nodes"]
    return {
        name: node["config"]["severity"].lower()
        for name, node in nodes.items()
        if node["resource_type"] == "test"
    }


def _as_error(result: dg.AssetCheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=result.asset_key,
        check_name=result.check_name,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata=result.metadata,
    )
