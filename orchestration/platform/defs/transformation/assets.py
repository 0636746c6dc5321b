"""dbt models, seeds and tests as Dagster assets and checks, in one run for all shops.

What a score rests on is built before memberships change, reports after it: they tell of the change
and nobody waits for them.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, dbt_assets

from core.dbt import EXECUTABLE, dbt_environment, generate_docs
from core.paths import DBT_PROJECT
from orchestration.shared.names import DATA_DOCS, DATA_HEALTH, OWNERS, TRANSFORMATION
from orchestration.shared.runtime import Runtime

# Written by `dbt parse` at set-up, never here: loading definitions must not start processes.
MANIFEST = DBT_PROJECT / "target" / "manifest.json"

# The marts that activation reads, with everything they are made of.
SCORES = "+customers +customer_rfm +customer_segments"


class Translator(DagsterDbtTranslator):
    """Groups and owners; keys stay <schema>/<model>, so sources join ours (raw_shopify/orders)."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        return TRANSFORMATION

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str] | None:  # noqa: ARG002
        return OWNERS


@dbt_assets(
    manifest=MANIFEST, select=SCORES, dagster_dbt_translator=Translator(), name="dbt_models"
)
def dbt_models(context: dg.AssetExecutionContext, runtime: Runtime) -> Iterator[Any]:
    # The boundaries of this run; without the id none are computed.
    yield from build(context, runtime, rfm_run_id=context.run_id)


@dbt_assets(
    manifest=MANIFEST, exclude=SCORES, dagster_dbt_translator=Translator(), name="dbt_reports"
)
def dbt_reports(context: dg.AssetExecutionContext, runtime: Runtime) -> Iterator[Any]:
    yield from build(context, runtime)


@dg.asset(
    key=DATA_DOCS,
    deps=[DATA_HEALTH],
    group_name=TRANSFORMATION,
    kinds={"dbt"},
    owners=OWNERS,
    description="The page about tables and columns, as they are built, that the web app shows.",
)
def data_docs(
    runtime: Runtime,
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    settings = runtime.settings
    page = generate_docs(settings.database_url.get_secret_value(), settings.home)
    return dg.MaterializeResult(metadata={"bytes": page.stat().st_size})


def build(context: dg.AssetExecutionContext, runtime: Runtime, **variables: str) -> Iterator[Any]:
    """`dbt build` of the assets in `context`, with its tests but not its unit tests."""
    settings = runtime.settings
    # dbt's profile is read by this process (the adapter that Dagster makes) and by the dbt process
    # it starts; both look at the environment only. This process runs nothing but this run.
    # A test of two models runs where both are there: `eager`, dbt's default, would test reports
    # before they are built.
    database_url = settings.database_url.get_secret_value()
    os.environ.update(dbt_environment(database_url) | {"DBT_INDIRECT_SELECTION": "buildable"})
    dbt = DbtCliResource(
        project_dir=os.fspath(DBT_PROJECT),
        profiles_dir=os.fspath(DBT_PROJECT),
        dbt_executable=os.fspath(EXECUTABLE),
    )
    target = settings.home / "dbt" / context.run_id
    # Unit tests prove the SQL on made-up rows, which `make test` does; nightly they only cost time.
    variables |= {"as_of": runtime.clock.now().isoformat()}
    try:
        yield from dbt.cli(
            ["build", "--exclude-resource-type", "unit_test", "--vars", _as_yaml(variables)],
            context=context,
            target_path=target,
        ).stream()
    finally:
        # Artifacts of a run are in Dagster's events; a folder a run would fill the disk.
        shutil.rmtree(target, ignore_errors=True)


def _as_yaml(variables: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{name}: '{value}'" for name, value in variables.items())
    return "{" + pairs + "}"
