"""Hourly and nightly upkeep."""

import dagster as dg

from orchestration.platform.defs.maintenance.assets import (
    retention,
    statistics_repair,
    webhook_subscriptions,
)
from orchestration.shared.names import RAW_ORDERS

check_shops = dg.define_asset_job(
    "check_shops",
    selection=dg.AssetSelection.assets(webhook_subscriptions)
    | dg.AssetSelection.checks(dg.AssetCheckKey(RAW_ORDERS, "synced_within_a_day")),
    description="Whether Shopify still tells every shop's changes, and whether a sync is overdue.",
)

repair_statistics = dg.define_asset_job(
    "repair_statistics",
    selection=dg.AssetSelection.assets(statistics_repair),
    description="Compute all statistics anew from the orders and say whether any was wrong.",
)

remove_expired = dg.define_asset_job(
    "remove_expired",
    selection=dg.AssetSelection.assets(retention),
    description="Remove what was only to be kept for a while.",
)
