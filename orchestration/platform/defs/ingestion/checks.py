"""Claims about the raw data, each true when its check passes."""

import dagster as dg

from activation.standing import count_wrong_statistics, just_judged
from core.database import session_scope
from core.ingestion.status import sync_status
from core.shops import all_shops, business_clock, installed_shops
from orchestration.shared.names import RAW_ORDERS, RAW_STATISTICS, SEGMENT_MEMBERSHIPS
from orchestration.shared.runtime import Runtime


# After the gate, which has just compared them: reading all orders again took as long as all scores.
@dg.asset_check(
    asset=RAW_STATISTICS,
    additional_deps=[SEGMENT_MEMBERSHIPS],
    description="Every customer's order count, spend, first and last order equal their orders.",
)
def statistics_equal_orders(runtime: Runtime) -> dg.AssetCheckResult:
    with session_scope(runtime.factory) as session:
        wrong = {
            shop.domain: count_wrong_statistics(
                session,
                shop.shop_id,
                judged=just_judged(
                    session, shop.shop_id, now=business_clock(shop, runtime.clock).now()
                ),
            )
            for shop in all_shops(session)
        }
    return dg.AssetCheckResult(
        passed=not any(wrong.values()),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"customers_with_wrong_statistics": sum(wrong.values()), "by_shop": wrong},
    )


@dg.asset_check(
    asset=RAW_ORDERS,
    description="A sync of every connected shop has completed in the last 24 hours.",
)
def synced_within_a_day(runtime: Runtime) -> dg.AssetCheckResult:
    with session_scope(runtime.factory) as session:
        statuses = {
            shop.domain: sync_status(
                session, shop.shop_id, now=business_clock(shop, runtime.clock).now()
            )
            for shop in installed_shops(session)
        }
    hours = {
        domain: round(status.age.total_seconds() / 3600, 1) if status.age else None
        for domain, status in statuses.items()
    }
    overdue = [domain for domain, status in statuses.items() if status.is_stale]
    return dg.AssetCheckResult(
        passed=not overdue,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"overdue_shops": len(overdue), "overdue": overdue, "hours_since_sync": hours},
    )
