"""Read one shop from Shopify; compare it with Shopify."""

import dagster as dg

from orchestration.platform.defs.ingestion.assets import reconciliation, shopify_raw
from orchestration.shared.names import RECONCILE_JOB, SYNC_JOB

sync_shop = dg.define_asset_job(
    SYNC_JOB,
    selection=dg.AssetSelection.assets(shopify_raw),
    description="Read a shop's customers, orders, checkouts and products by bulk operations.",
)

reconcile_shop = dg.define_asset_job(
    RECONCILE_JOB,
    selection=dg.AssetSelection.assets(reconciliation),
    description="Compare a shop's customers and orders with Shopify's, and ask for what differs.",
)
