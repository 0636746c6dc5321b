"""Read one shop from Shopify."""

import dagster as dg

from orchestration.platform.defs.ingestion.assets import shopify_raw, shops_partitions

sync_shop = dg.define_asset_job(
    "sync_shop",
    selection=dg.AssetSelection.assets(shopify_raw),
    partitions_def=shops_partitions,
    description="Read a shop's customers and orders from Shopify by bulk operations.",
)
