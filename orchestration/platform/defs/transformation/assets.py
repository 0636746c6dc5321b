"""dbt models, seeds and tests as Dagster assets and checks, in one run for all shops.

What a score rests on is built before memberships change, reports after it: they tell of the change
and nobody waits for them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from core.dbt import generate_docs
from orchestration.platform.defs.transformation.building import MANIFEST, build, tell_failures
from orchestration.shared.names import DATA_DOCS, OWNERS, TRANSFORMATION
from orchestration.shared.runtime import Runtime

# The marts that activation reads, with everything they are made of.
SCORES = "+customers +customer_rfm +customer_segments"


class Translator(DagsterDbtTranslator):
    """Groups and owners; keys stay <schema>/<model>, so sources join ours (raw_shopify/orders)."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        return TRANSFORMATION

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str] | None:  # noqa: ARG002
        return OWNERS


class TellingTranslator(Translator):
    """A failed test is a failed check, and as grave; it stops nothing."""

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(blocking=False)


@dbt_assets(
    manifest=MANIFEST, select=SCORES, dagster_dbt_translator=Translator(), name="dbt_models"
)
def dbt_models(context: dg.AssetExecutionContext, runtime: Runtime) -> Iterator[Any]:
    # The boundaries of this run; without the id none are computed.
    yield from build(context, runtime, ECOMCRM_DBT_RFM_RUN_ID=context.run.run_id)


@dbt_assets(
    manifest=MANIFEST,
    exclude=SCORES,
    dagster_dbt_translator=TellingTranslator(),
    name="dbt_reports",
)
def dbt_reports(context: dg.AssetExecutionContext, runtime: Runtime) -> Iterator[Any]:
    # A report is there because something may be wrong: a test that fails must not keep dbt from
    # building the very table that says what.
    yield from tell_failures(context, build(context, runtime, ECOMCRM_DBT_SEVERITY="warn"))


# After the reports, of which it tells, but not downstream of them: it is also there when one could
# not be built, and says more the next time.
@dg.asset(
    key=DATA_DOCS,
    op_tags={"dagster/priority": "-1"},
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
