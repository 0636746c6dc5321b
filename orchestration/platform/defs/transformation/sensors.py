"""Reports follow each decision on segments, however it ended: a hold is what they have to tell of.

By state, not by a cursor over runs: a daemon that was not there when the scores came, as at every
first start, still sees that no reports tell of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import dagster as dg
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.database import session_scope
from orchestration.platform.defs.segmentation.jobs import score_customers
from orchestration.platform.defs.transformation.jobs import build_reports
from orchestration.shared.names import DECISIONS_TAG
from orchestration.shared.runtime import Runtime

# What could not be built, a full disk say, will not be built a minute later either.
RETRY_AFTER: Final = timedelta(hours=1)
# Longer than any build or full run takes: the process of one that is still "started" then is dead.
DEAD_AFTER: Final = timedelta(hours=2)

_OPEN: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

READ_DECISIONS: Final = text("""
-- Returns of each shop its newest decision. Changes nothing. Reads crm.rfm_runs: a row a night and
-- shop.
SELECT DISTINCT ON (shop_id)
    shop_id,
    rfm_run_id,
    state,
    decided_at
FROM crm.rfm_runs
ORDER BY shop_id ASC, decided_at DESC, rfm_run_id DESC
""")


@dg.sensor(
    name="reports_sensor",
    job=build_reports,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the reports when no build tells of the newest decision on segments: after "
    "each full run, after a person accepted a held one. What failed is tried again hourly.",
)
def reports_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.RunRequest | dg.SkipReason:
    try:
        with session_scope(runtime.factory) as session:
            decisions = read_decisions(session)
    except OperationalError:
        return dg.SkipReason("The database cannot be reached; looking again at the next tick.")
    if decisions is None:
        return dg.SkipReason("No shop has been scored.")
    now = datetime.now(UTC)
    # It decides shop by shop: reports in the middle of it would be built twice.
    full_runs = dg.RunsFilter(job_name=score_customers.name, statuses=_OPEN)
    if lives(context.instance.get_run_records(full_runs, limit=1), now=now):
        return dg.SkipReason("A full run is at work.")
    builds = dg.RunsFilter(job_name=build_reports.name, tags={DECISIONS_TAG: decisions})
    return next_build(decisions, context.instance.get_run_records(builds, limit=100), now=now)


def read_decisions(session: Session) -> str | None:
    """A short name for what is decided in all shops; None before anything is.

    Another decision in any shop makes another name.
    """
    rows = session.execute(READ_DECISIONS).all()
    if not rows:
        return None
    content = "\n".join(
        f"{row.shop_id} {row.rfm_run_id} {row.state} {row.decided_at.isoformat()}" for row in rows
    )
    return sha256(content.encode()).hexdigest()[:16]


def next_build(
    decisions: str, builds: Sequence[dg.RunRecord], *, now: datetime
) -> dg.RunRequest | dg.SkipReason:
    """`builds` are those of these decisions, newest first."""
    if any(build.dagster_run.is_success for build in builds):
        return dg.SkipReason("The reports tell of the newest decisions.")
    if lives(builds, now=now):
        return dg.SkipReason("Reports are being built.")
    if builds and now - builds[0].create_timestamp < RETRY_AFTER:
        return dg.SkipReason("The reports could not be built; trying again within the hour.")
    # Dagster starts one run per key, whatever dies between this answer and the run's start.
    return dg.RunRequest(run_key=f"{decisions} {len(builds) + 1}", tags={DECISIONS_TAG: decisions})


def lives(runs: Sequence[dg.RunRecord], *, now: datetime) -> bool:
    """Whether one of them is still at work."""
    return any(
        not run.dagster_run.is_finished and now - run.create_timestamp < DEAD_AFTER for run in runs
    )
