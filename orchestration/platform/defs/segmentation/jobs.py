"""Score every shop: boundaries, gate, memberships."""

import dagster as dg

from orchestration.platform.defs.segmentation.assets import segment_memberships
from orchestration.platform.defs.transformation.assets import dbt_models

score_customers = dg.define_asset_job(
    "score_customers",
    selection=dg.AssetSelection.assets(dbt_models, segment_memberships),
    description="dbt build, data gate, acceptance of the boundaries, membership changes.",
)
