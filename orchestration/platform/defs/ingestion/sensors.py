"""Syncs that nobody scheduled: the first of a new shop, those people ask for, those that died."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import exists, func, select
from sqlalchemy.exc import OperationalError

from core.database import session_scope
from core.ingestion.requests import open_requests
from core.ingestion.runs import sweep_dead
from core.models import Shop, SyncRun
from core.models.enums import SyncState
from orchestration.platform.defs.ingestion.assets import shops_partitions
from orchestration.platform.defs.ingestion.endings import Ending, end_failed, ending_of
from orchestration.platform.defs.ingestion.jobs import reconcile_shop, sync_shop
from orchestration.platform.defs.ingestion.requests import CANCELED, due, run_request, settle
from orchestration.shared.runtime import Runtime

# Whoever connects a shop usually starts its first sync too; we only catch what they did not.
GRACE = timedelta(seconds=60)


@dg.sensor(
    job=sync_shop,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the first sync of a connected shop, hourly again until one completes.",
)
def new_shop_sensor(runtime: Runtime) -> dg.SensorResult | dg.SkipReason:
    its_run = SyncRun.shop_id == Shop.shop_id
    never_tried = ~exists().where(its_run)
    failed_so_far = Shop.first_sync_completed_at.is_(None) & ~exists().where(
        its_run, SyncRun.state == SyncState.RUNNING
    )
    never_synced = (
        select(Shop.domain)
        .where(never_tried | failed_so_far)
        .where(Shop.created_at < func.clock_timestamp() - GRACE, Shop.uninstalled_at.is_(None))
    )
    with session_scope(runtime.factory) as session:
        domains = list(session.scalars(never_synced))
    if not domains:
        return dg.SkipReason("Every connected shop has been synced.")
    # Whatever fails for want of a scope, a key or a network fails again at the next tick.
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(partition_key=domain, run_key=f"{domain} {hour}") for domain in domains
        ],
        dynamic_partitions_requests=[shops_partitions.build_add_request(domains)],
    )


@dg.sensor(
    jobs=[sync_shop, reconcile_shop],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the syncs that people ask for, and ends in words those that have died.",
)
def sync_request_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.SensorResult | dg.SkipReason:
    try:
        sweep_dead(runtime.factory, clock=runtime.clock)
        with session_scope(runtime.factory) as session:
            for request in open_requests(session):
                settle(session, context.instance, request)
            wanted = {
                session.get_one(Shop, request.shop_id).domain: request
                for request in due(session, open_requests(session))
            }
    except OperationalError:
        return dg.SkipReason("The database cannot be reached; looking again at the next tick.")
    if not wanted:
        return dg.SkipReason("No sync is asked for, or its shop is at work.")
    return dg.SensorResult(
        run_requests=[run_request(request, domain) for domain, request in wanted.items()],
        dynamic_partitions_requests=[shops_partitions.build_add_request(list(wanted))],
    )


@dg.run_failure_sensor(
    monitored_jobs=[sync_shop, reconcile_shop],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Says in the sync log why a run failed, also one that failed before it began.",
)
def failed_sync_sensor(context: dg.RunFailureSensorContext, runtime: Runtime) -> None:
    end_failed(runtime, context.dagster_run, ending_of(context.get_step_failure_events()))


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    monitored_jobs=[sync_shop, reconcile_shop],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends in the sync log the runs that somebody cancelled.",
)
def canceled_sync_sensor(context: dg.RunStatusSensorContext, runtime: Runtime) -> None:
    end_failed(runtime, context.dagster_run, Ending(CANCELED))
