"""A shop that has been read and never scored is scored without waiting for the night."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import func, select

from core.database import session_scope
from core.models import Shop
from orchestration.platform.defs.segmentation.jobs import score_customers
from orchestration.shared.runtime import Runtime

# Whoever starts a first sync usually asks for the scores too; we only catch what they did not.
GRACE = timedelta(seconds=60)


@dg.sensor(
    job=score_customers,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the first scoring of a shop whose first sync is complete.",
)
def first_scores_sensor(runtime: Runtime) -> dg.RunRequest | dg.SkipReason:
    unscored = (
        select(Shop.domain)
        .where(Shop.baseline_at.is_(None))
        .where(Shop.first_sync_completed_at < func.clock_timestamp() - GRACE)
        .order_by(Shop.domain)
    )
    with session_scope(runtime.factory) as session:
        domains = list(session.scalars(unscored))
    if not domains:
        return dg.SkipReason("Every synced shop has been scored.")
    # At most once an hour for the same shops: a run whose boundaries are held leaves no baseline.
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    return dg.RunRequest(run_key=f"{' '.join(domains)} {hour}")
