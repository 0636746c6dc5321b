"""Shopify's data by bulk operation, and its comparison with ours; one partition per shop."""

import time
from collections.abc import Iterator
from typing import Literal

import dagster as dg

from core.database import session_scope
from core.ingestion import runs
from core.ingestion.reconcile import run_reconcile
from core.ingestion.sync import SyncReport, run_sync
from core.models import (
    Base,
    Checkout,
    Customer,
    CustomerStatistics,
    Order,
    OrderLine,
    Product,
    Refund,
    Shop,
)
from core.models.enums import SyncKind
from core.shops import business_clock, shop_by_domain
from orchestration.shared.columns import table_metadata
from orchestration.shared.names import (
    INGESTION,
    OWNERS,
    RAW_CHECKOUTS,
    RAW_CUSTOMERS,
    RAW_ORDER_LINES,
    RAW_ORDERS,
    RAW_PRODUCTS,
    RAW_REFUNDS,
    RAW_STATISTICS,
    RECONCILIATION,
    REQUEST_TAG,
    SHOPS_PARTITIONS,
)
from orchestration.shared.runtime import Runtime

shops_partitions = dg.DynamicPartitionsDefinition(name=SHOPS_PARTITIONS)

_KINDS = {"shopify", "postgres"}
# Another sync of the shop may begin between the sensor's look and this run's start.
_PATIENCE_SECONDS = 900.0
_LOOK_SECONDS = 2.0


class SyncConfig(dg.Config):
    """`auto`: full until a first sync has completed, incremental from then on."""

    kind: Literal["auto", "full", "incremental"] = "auto"


def _spec(key: dg.AssetKey, model: type[Base], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        description=description,
        kinds=_KINDS,
        owners=OWNERS,
        metadata=table_metadata(model),
    )


@dg.multi_asset(
    name="shopify_raw",
    partitions_def=shops_partitions,
    group_name=INGESTION,
    specs=[
        _spec(
            RAW_CUSTOMERS,
            Customer,
            "One row per Shopify customer, with consent as Shopify last told it.",
        ),
        _spec(
            RAW_ORDERS,
            Order,
            "One row per Shopify order, guests included; is_counted says which count.",
        ),
        _spec(RAW_ORDER_LINES, OrderLine, "One row per line item of an order."),
        _spec(RAW_REFUNDS, Refund, "One row per refund of an order: when how much went back."),
        _spec(
            RAW_CHECKOUTS,
            Checkout,
            "One row per checkout that got as far as an address, abandoned or completed.",
        ),
        _spec(RAW_PRODUCTS, Product, "One row per product: what is needed to show a line item."),
        dg.AssetSpec(
            RAW_STATISTICS,
            description="One row per customer: counted orders, spend, first and last order.",
            deps=[RAW_CUSTOMERS, RAW_ORDERS],
            kinds={"postgres"},
            owners=OWNERS,
            metadata=table_metadata(CustomerStatistics),
        ),
    ],
)
def shopify_raw(
    context: dg.AssetExecutionContext, config: SyncConfig, runtime: Runtime
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # generic over an in-memory value
    shop = _shop(context, runtime)
    kind = _kind(config, shop)
    _wait_for_turn(context, runtime, shop)
    report = run_sync(
        runtime.factory,
        runtime.client_of(shop.shop_id),
        shop_id=shop.shop_id,
        kind=kind,
        clock=business_clock(shop, runtime.clock),
        run_id=context.run.run_id,
        settings=runtime.settings,
    )
    context.log.info("%s sync %d: %s", kind.value, report.sync_run_id, _counts(report))
    for key, rows in (
        (RAW_CUSTOMERS, report.customers),
        (RAW_ORDERS, report.orders),
        (RAW_ORDER_LINES, report.order_lines),
        (RAW_REFUNDS, None),  # within the orders' lines, and not counted apart
        (RAW_CHECKOUTS, report.checkouts),
        (RAW_PRODUCTS, report.products),
        (RAW_STATISTICS, None),
    ):
        counted = {} if rows is None else {"rows": rows}
        yield dg.MaterializeResult(asset_key=key, metadata={**counted, **_about(report, kind)})


@dg.asset(
    key=RECONCILIATION,
    deps=[RAW_CUSTOMERS, RAW_ORDERS],
    partitions_def=shops_partitions,
    group_name=INGESTION,
    kinds=_KINDS,
    owners=OWNERS,
    description="Ids and times of Shopify's customers and orders against ours; what differs is "
    "asked for anew.",
)
def reconciliation(context: dg.AssetExecutionContext, runtime: Runtime) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    shop = _shop(context, runtime)
    _wait_for_turn(context, runtime, shop)
    report = run_reconcile(
        runtime.factory,
        runtime.client_of(shop.shop_id),
        shop_id=shop.shop_id,
        clock=business_clock(shop, runtime.clock),
        run_id=context.run.run_id,
        settings=runtime.settings,
        sleep=time.sleep,
    )
    return dg.MaterializeResult(metadata=report.as_json())


def _shop(context: dg.AssetExecutionContext, runtime: Runtime) -> Shop:
    with session_scope(runtime.factory) as session:
        shop = shop_by_domain(session, context.partition_key)
    if shop is None:
        raise dg.Failure(f"No shop {context.partition_key} is connected.", allow_retries=False)
    return shop


def _wait_for_turn(context: dg.AssetExecutionContext, runtime: Runtime, shop: Shop) -> None:
    """What a person asked for waits for the sync at work; what a schedule asked for need not."""
    if not context.run.tags.get(REQUEST_TAG):
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with session_scope(runtime.factory) as session:
            if not runs.is_alive(session, shop.shop_id):
                return
        time.sleep(_LOOK_SECONDS)


def _kind(config: SyncConfig, shop: Shop) -> SyncKind:
    if config.kind == "auto":
        first = shop.first_sync_completed_at is None
        return SyncKind.FULL if first else SyncKind.INCREMENTAL
    return SyncKind(config.kind)


def _about(report: SyncReport, kind: SyncKind) -> dict[str, int | float | str]:
    return {
        "sync_run": report.sync_run_id,
        "kind": kind.value,
        "lines_rejected": report.rejected,
        "seconds": report.seconds,
    }


def _counts(report: SyncReport) -> str:
    return (
        f"{report.customers} customers, {report.orders} orders, {report.order_lines} lines, "
        f"{report.checkouts} checkouts, {report.products} products, "
        f"{report.rejected} rejected in {report.seconds:.1f} s"
    )
