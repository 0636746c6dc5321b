"""Claims about the raw data, each true when its check passes."""

import dagster as dg

from core.database import session_scope
from core.ingestion.statistics import mismatches
from core.shops import all_shops
from orchestration.shared.names import RAW_STATISTICS
from orchestration.shared.runtime import Runtime


@dg.asset_check(
    asset=RAW_STATISTICS,
    description="Every customer's order count, spend, first and last order equal their orders.",
)
def statistics_equal_orders(runtime: Runtime) -> dg.AssetCheckResult:
    with session_scope(runtime.factory) as session:
        wrong = {shop.domain: mismatches(session, shop.shop_id) for shop in all_shops(session)}
    return dg.AssetCheckResult(
        passed=not any(wrong.values()),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"customers_with_wrong_statistics": sum(wrong.values()), "by_shop": wrong},
    )
