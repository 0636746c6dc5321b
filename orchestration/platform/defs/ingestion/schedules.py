"""The net under the webhooks: nightly what changed, weekly everything, and a comparison."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from core.database import session_scope
from core.ingestion import runs
from core.shops import installed_shops
from orchestration.platform.defs.ingestion.jobs import reconcile_shop, sync_shop
from orchestration.shared.names import SHOPS_PARTITIONS
from orchestration.shared.runtime import Runtime


@dg.schedule(
    job=sync_shop,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Incremental sync of every connected shop at 02:00 UTC.",
)
def nightly_sync_schedule(
    context: dg.ScheduleEvaluationContext, runtime: Runtime
) -> Iterator[dg.RunRequest]:
    yield from _for_every_shop(context, runtime)


# A change that moves no `updated_at` (a refund's, say) is in no incremental window.
@dg.schedule(
    job=sync_shop,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Full sync of every connected shop on Sundays at 04:00 UTC.",
)
def weekly_full_sync_schedule(
    context: dg.ScheduleEvaluationContext, runtime: Runtime
) -> Iterator[dg.RunRequest]:
    yield from _for_every_shop(context, runtime, sync_config("full"))


@dg.schedule(
    job=reconcile_shop,
    cron_schedule="0 4 * * 6",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Comparison of every connected shop with Shopify on Saturdays at 04:00 UTC.",
)
def weekly_reconciliation_schedule(
    context: dg.ScheduleEvaluationContext, runtime: Runtime
) -> Iterator[dg.RunRequest]:
    yield from _for_every_shop(context, runtime)


def sync_config(kind: str) -> dict[str, Any]:
    """Run configuration of the job sync_shop."""
    return {"ops": {"shopify_raw": {"config": {"kind": kind}}}}


def _for_every_shop(
    context: dg.ScheduleEvaluationContext,
    runtime: Runtime,
    run_config: dict[str, Any] | None = None,
) -> Iterator[dg.RunRequest]:
    """Without the shops that removed the app, and those at work: what runs now is as good."""
    with session_scope(runtime.factory) as session:
        domains = [
            shop.domain
            for shop in installed_shops(session)
            if not runs.is_alive(session, shop.shop_id)
        ]
    context.instance.add_dynamic_partitions(SHOPS_PARTITIONS, domains)
    for domain in domains:
        yield dg.RunRequest(partition_key=domain, run_config=run_config)
