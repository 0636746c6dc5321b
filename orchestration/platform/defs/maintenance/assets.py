"""What keeps an installation healthy by itself; each asset serves all shops."""

import dagster as dg

from activation.events.forgetting import forget_visitors
from core.database import session_scope
from core.errors import EcomCRMError
from core.ingestion import statistics
from core.ingestion.retention import remove_expired
from core.models import Shop
from core.shops import all_shops, business_clock, installed_shops
from core.subscriptions import Subscriptions, check_subscriptions, receiver_address
from orchestration.shared.names import (
    MAINTENANCE,
    OWNERS,
    RAW_STATISTICS,
    RETENTION,
    STATISTICS_REPAIR,
    WEBHOOK_SUBSCRIPTIONS,
)
from orchestration.shared.runtime import Runtime


@dg.asset(
    key=WEBHOOK_SUBSCRIPTIONS,
    group_name=MAINTENANCE,
    kinds={"shopify"},
    owners=OWNERS,
    description="One subscription per shop and topic; those Shopify has deleted are made anew.",
)
def webhook_subscriptions(
    context: dg.AssetExecutionContext, runtime: Runtime
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    with session_scope(runtime.factory) as session:
        shops = installed_shops(session)
    checked: dict[str, Subscriptions] = {}
    failures: dict[str, str] = {}
    for shop in shops:
        try:
            checked[shop.domain] = _check(runtime, shop)
        except EcomCRMError as error:  # one shop's trouble must not keep the others from theirs
            context.log.warning("%s: %s", shop.domain, error)
            failures[shop.domain] = str(error)
    if failures:
        raise dg.Failure("Webhooks of some shops could not be checked.", metadata={**failures})
    return dg.MaterializeResult(
        metadata={
            "shops": len(checked),
            "created": sum(found.created for found in checked.values()),
            "deleted": sum(found.deleted for found in checked.values()),
            "refused": sum(len(found.refused) for found in checked.values()),
        }
    )


def _check(runtime: Runtime, shop: Shop) -> Subscriptions:
    return check_subscriptions(
        runtime.factory,
        runtime.client_of(shop.shop_id),
        shop_id=shop.shop_id,
        address=receiver_address(runtime.settings.public_url, is_sandbox=shop.is_sandbox),
        now=runtime.clock.now(),
    )


@dg.asset(
    key=STATISTICS_REPAIR,
    deps=[RAW_STATISTICS],
    group_name=MAINTENANCE,
    kinds={"postgres"},
    owners=OWNERS,
    description="Every customer's statistics computed anew from the orders; only wrong ones move.",
    check_specs=[
        dg.AssetCheckSpec(
            "statistics_needed_no_repair",
            asset=STATISTICS_REPAIR,
            description="The statistics that each order moved were right before they were "
            "computed anew.",
        )
    ],
)
def statistics_repair(context: dg.AssetExecutionContext, runtime: Runtime) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    with session_scope(runtime.factory) as session:
        shops = all_shops(session)
    repaired = {shop.domain: _repair(runtime, shop) for shop in shops}
    context.log.info("%d repaired in %d shops", sum(repaired.values()), len(repaired))
    return dg.MaterializeResult(
        metadata={"shops": len(repaired), "repaired": sum(repaired.values())},
        check_results=[
            dg.AssetCheckResult(
                check_name="statistics_needed_no_repair",
                passed=not any(repaired.values()),
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={"repaired_by_shop": repaired},
            )
        ],
    )


def _repair(runtime: Runtime, shop: Shop) -> int:
    """How many were wrong. Locks everybody's rows only if one is."""
    with session_scope(runtime.factory) as session:
        wrong = statistics.mismatches(session, shop.shop_id)
        if wrong:
            now = business_clock(shop, runtime.clock).now()
            statistics.recompute_all(session, shop.shop_id, touched_at=now)
        return wrong


@dg.asset(
    key=RETENTION,
    group_name=MAINTENANCE,
    kinds={"postgres"},
    owners=OWNERS,
    description="What was kept for a while is removed: webhook bodies, rejected lines, logs, "
    "privacy exports, finished requests.",
)
def retention(
    runtime: Runtime,
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    removed = remove_expired(runtime.factory, clock=runtime.clock)
    removed["networks of readers"] = forget_visitors(runtime.factory)
    return dg.MaterializeResult(metadata={**removed})
