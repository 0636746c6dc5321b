"""Shopify's customers and orders, by bulk operation, one partition per shop."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg

from core.database import session_scope
from core.ingestion.sync import SyncReport, run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.shops import business_clock, shop_by_domain
from orchestration.shared.names import (
    INGESTION,
    OWNERS,
    RAW_CUSTOMERS,
    RAW_ORDER_LINES,
    RAW_ORDERS,
    RAW_STATISTICS,
)
from orchestration.shared.runtime import Runtime

shops_partitions = dg.DynamicPartitionsDefinition(name="shops")

_KINDS = {"shopify", "postgres"}


class SyncConfig(dg.Config):
    """`auto`: full until a first sync has completed, incremental from then on."""

    kind: Literal["auto", "full", "incremental"] = "auto"


@dg.multi_asset(
    name="shopify_raw",
    partitions_def=shops_partitions,
    group_name=INGESTION,
    specs=[
        dg.AssetSpec(
            RAW_CUSTOMERS,
            description="One row per Shopify customer, with consent as Shopify last told it.",
            kinds=_KINDS,
            owners=OWNERS,
        ),
        dg.AssetSpec(
            RAW_ORDERS,
            description="One row per Shopify order, guests included; is_counted says which count.",
            kinds=_KINDS,
            owners=OWNERS,
        ),
        dg.AssetSpec(
            RAW_ORDER_LINES,
            description="One row per line item of an order.",
            kinds=_KINDS,
            owners=OWNERS,
        ),
        dg.AssetSpec(
            RAW_STATISTICS,
            description="One row per customer: counted orders, spend, first and last order.",
            deps=[RAW_CUSTOMERS, RAW_ORDERS],
            kinds={"postgres"},
            owners=OWNERS,
        ),
    ],
)
def shopify_raw(
    context: dg.AssetExecutionContext, config: SyncConfig, runtime: Runtime
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # generic over an in-memory value
    with session_scope(runtime.factory) as session:
        shop = shop_by_domain(session, context.partition_key)
        if shop is None:
            raise dg.Failure(f"No shop {context.partition_key} is connected.", allow_retries=False)
        kind = _kind(config, shop)
        clock = business_clock(shop, runtime.clock)
    report = run_sync(
        runtime.factory,
        runtime.client_of(shop.shop_id),
        shop_id=shop.shop_id,
        kind=kind,
        clock=clock,
        run_id=context.run_id,
    )
    context.log.info("%s sync %d: %s", kind.value, report.sync_run_id, _counts(report))
    for key, rows in (
        (RAW_CUSTOMERS, report.customers),
        (RAW_ORDERS, report.orders),
        (RAW_ORDER_LINES, report.order_lines),
    ):
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "rows": rows,
                "sync_run": report.sync_run_id,
                "kind": kind.value,
                "lines_rejected": report.rejected,
                "seconds": report.seconds,
            },
        )
    yield dg.MaterializeResult(asset_key=RAW_STATISTICS)


def _kind(config: SyncConfig, shop: Shop) -> SyncKind:
    if config.kind == "auto":
        first = shop.first_sync_completed_at is None
        return SyncKind.FULL if first else SyncKind.INCREMENTAL
    return SyncKind(config.kind)


def _counts(report: SyncReport) -> str:
    return (
        f"{report.customers} customers, {report.orders} orders, {report.order_lines} lines, "
        f"{report.rejected} rejected in {report.seconds:.1f} s"
    )
