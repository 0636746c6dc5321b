"""Read one shop from Shopify."""

import dagster as dg

from orchestration.platform.defs.ingestion.assets import shopify_raw

sync_shop = dg.define_asset_job(
    "sync_shop",
    selection=dg.AssetSelection.assets(shopify_raw),
    description="Read a shop's customers and orders from Shopify by bulk operations.",
)
