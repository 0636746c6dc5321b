"""A shop that was connected and never read is read without anyone asking."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import exists, func, select

from core.database import session_scope
from core.models import Shop, SyncRun
from orchestration.platform.defs.ingestion.assets import shops_partitions
from orchestration.platform.defs.ingestion.jobs import sync_shop
from orchestration.shared.runtime import Runtime

# Whoever connects a shop usually starts its first sync too; we only catch what they did not.
GRACE = timedelta(seconds=60)


@dg.sensor(
    job=sync_shop,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the first sync of a connected shop that has had none.",
)
def new_shop_sensor(runtime: Runtime) -> dg.SensorResult | dg.SkipReason:
    never_synced = (
        select(Shop.domain)
        .where(~exists().where(SyncRun.shop_id == Shop.shop_id))
        .where(Shop.created_at < func.clock_timestamp() - GRACE)
    )
    with session_scope(runtime.factory) as session:
        domains = list(session.scalars(never_synced))
    if not domains:
        return dg.SkipReason("Every connected shop has been synced.")
    # A run that fails before it has anything to sync leaves no trace of itself in the database.
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(partition_key=domain, run_key=f"{domain} {hour}") for domain in domains
        ],
        dynamic_partitions_requests=[shops_partitions.build_add_request(domains)],
    )
