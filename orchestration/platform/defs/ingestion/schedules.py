"""Every night, what Shopify changed since the last sync: the net under the webhooks."""

from collections.abc import Iterator

import dagster as dg

from core.database import session_scope
from core.shops import all_shops
from orchestration.platform.defs.ingestion.assets import shops_partitions
from orchestration.platform.defs.ingestion.jobs import sync_shop
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
    with session_scope(runtime.factory) as session:
        domains = [shop.domain for shop in all_shops(session)]
    context.instance.add_dynamic_partitions(shops_partitions.name or "shops", domains)
    for domain in domains:
        yield dg.RunRequest(partition_key=domain)
