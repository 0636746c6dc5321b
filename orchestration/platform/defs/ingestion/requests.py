"""Syncs that people ask for: each gets one Dagster run, is never lost and never done twice.

A request is known by a tag on its run, which is also the run's key: Dagster starts one run per key,
whatever dies between the sensor's answer and the run's start.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.ingestion import runs
from core.ingestion.requests import finish_for_run, mark_launched
from core.models import SyncRequest, SyncRun
from core.models.enums import SyncKind, SyncRequestState, SyncState
from orchestration.platform.defs.ingestion.schedules import sync_config
from orchestration.shared.names import RECONCILE_JOB, REQUEST_TAG, SYNC_JOB

LOST: Final = "The run that was to do it is gone. Ask again."
FAILED: Final = "The run failed before it began; Dagster's log of the run says why."
CANCELED: Final = "The run was stopped before it began. Ask again."
# Far longer than a run waits for its turn: its process died before it wrote a word.
_BEGINS_WITHIN: Final = timedelta(hours=1)


def settle(session: Session, instance: dg.DagsterInstance, request: SyncRequest) -> None:
    """Bring an open request up to what has become of its run."""
    run = _run_of(instance, request)
    if run is None:
        if request.run_id is not None:
            finish_for_run(session, request.run_id, error=LOST)
        return
    if request.state is SyncRequestState.REQUESTED:
        mark_launched(session, request, run.run_id)
    is_over, error = _outcome(session, run, launched_at=request.launched_at)
    if is_over:
        finish_for_run(session, run.run_id, error=error)


def due(session: Session, requests: list[SyncRequest]) -> list[SyncRequest]:
    """The oldest waiting request of each shop that nobody syncs now."""
    busy = {each.shop_id for each in requests if each.state is SyncRequestState.LAUNCHED}
    found = []
    for request in requests:
        if request.shop_id not in busy:
            busy.add(request.shop_id)
            if not runs.is_alive(session, request.shop_id):
                found.append(request)
    return found


def run_request(request: SyncRequest, domain: str) -> dg.RunRequest:
    """The one run of a request."""
    is_reconciliation = request.kind is SyncKind.RECONCILE
    return dg.RunRequest(
        run_key=_key(request),
        job_name=RECONCILE_JOB if is_reconciliation else SYNC_JOB,
        partition_key=domain,
        tags={REQUEST_TAG: _key(request)},
        run_config=None if is_reconciliation else sync_config(request.kind.value),
    )


def _key(request: SyncRequest) -> str:
    return f"{request.shop_id}/{request.sync_request_id}"


def _run_of(instance: dg.DagsterInstance, request: SyncRequest) -> dg.DagsterRun | None:
    if request.run_id is not None:
        return instance.get_run_by_id(request.run_id)
    found = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: _key(request)}), limit=1)
    return found[0] if found else None


def _outcome(
    session: Session, run: dg.DagsterRun, *, launched_at: datetime | None
) -> tuple[bool, str | None]:
    """Whether the request is over, and why it failed. Our own row counts before Dagster's status: a
    run whose process died stays `STARTED`.
    """
    sync_run = session.scalars(select(SyncRun).where(SyncRun.run_id == run.run_id)).first()
    if sync_run is not None:
        failed = sync_run.state is SyncState.FAILED
        return sync_run.state is not SyncState.RUNNING, (sync_run.error or LOST) if failed else None
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return True, None
    if run.is_finished:
        return True, CANCELED if run.status is dg.DagsterRunStatus.CANCELED else FAILED
    waited = datetime.now(UTC) - launched_at if launched_at else timedelta()
    return (True, LOST) if waited > _BEGINS_WITHIN else (False, None)
