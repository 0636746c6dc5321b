"""Reports on their own: what nobody's segment waits for."""

import dagster as dg

from orchestration.platform.defs.transformation.assets import data_docs, dbt_reports

build_reports = dg.define_asset_job(
    "build_reports",
    selection=dg.AssetSelection.assets(dbt_reports, data_docs),
    description="dbt build of the marts that only people read, and the page that describes all.",
)
