"""Score every shop: boundaries, gate, memberships; then what there is to say about them."""

import dagster as dg

from orchestration.platform.defs.segmentation.assets import segment_memberships
from orchestration.platform.defs.transformation.assets import dbt_models
from orchestration.shared.names import RAW_ORDERS, RAW_STATISTICS, SEGMENT_MEMBERSHIPS

# Checks of what is not made here, but what the scores rest on. (Those of the assets come along.)
# In a full run the gate has counted what they say; by day they count for themselves.
_FOUNDATIONS = dg.AssetSelection.checks(
    dg.AssetCheckKey(RAW_ORDERS, "rows_did_not_fall"),
    dg.AssetCheckKey(RAW_STATISTICS, "statistics_equal_orders"),
)
# Reads all orders and stops nothing: six times a day, but no full run waits for it.
_CURRENCY = dg.AssetSelection.checks(
    dg.AssetCheckKey(RAW_ORDERS, "orders_are_in_the_shops_currency")
)

score_customers = dg.define_asset_job(
    "score_customers",
    selection=dg.AssetSelection.assets(dbt_models, segment_memberships) | _FOUNDATIONS,
    description="dbt build, data gate, acceptance of the boundaries, membership changes, checks.",
)

check_segments = dg.define_asset_job(
    "check_segments",
    selection=_FOUNDATIONS
    | _CURRENCY
    | dg.AssetSelection.checks(
        *(
            dg.AssetCheckKey(SEGMENT_MEMBERSHIPS, name)
            for name in ("no_segments_are_held", "segments_do_not_swing", "scored_within_a_day")
        )
    ),
    description="Whether what segments rest on is whole and fresh, without changing anything.",
)
