"""Syncs that a person asked for: the page or command writes a row, a sensor sees it.

Times here are real: what waits in Dagster's queue does not move with a demo's clock.
"""

from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.models import SyncRequest
from core.models.enums import SyncKind, SyncRequestState

OPEN = (SyncRequestState.REQUESTED, SyncRequestState.LAUNCHED)


def request_sync(session: Session, shop_id: int, kind: SyncKind, *, requested_by: str) -> int:
    """Ask for a sync and return the id of the request.

    Somebody who asks again for what has not begun yet gets the request that waits.
    """
    waiting = session.scalars(
        select(SyncRequest.sync_request_id)
        .where(
            SyncRequest.shop_id == shop_id,
            SyncRequest.kind == kind,
            SyncRequest.state == SyncRequestState.REQUESTED,
        )
        .order_by(SyncRequest.sync_request_id)
    ).first()
    if waiting is not None:
        return waiting
    request = SyncRequest(
        shop_id=shop_id,
        kind=kind,
        state=SyncRequestState.REQUESTED,
        requested_by=requested_by,
        requested_at=datetime.now(UTC),
    )
    session.add(request)
    session.flush()
    return request.sync_request_id


def open_requests(session: Session) -> list[SyncRequest]:
    """Requests of all shops that wait or are being done, oldest first."""
    return list(
        session.scalars(
            select(SyncRequest)
            .where(SyncRequest.state.in_(OPEN))
            .order_by(SyncRequest.requested_at, SyncRequest.shop_id, SyncRequest.sync_request_id)
        )
    )


def mark_launched(session: Session, request: SyncRequest, run_id: str) -> None:
    """A Dagster run has been asked to do it."""
    request.state = SyncRequestState.LAUNCHED
    request.launched_at = datetime.now(UTC)
    request.run_id = run_id
    session.flush()


def finish_for_run(session: Session, run_id: str, *, error: str | None) -> None:
    """The Dagster run `run_id` is over; `error` says in words why it failed. Repeatable."""
    session.execute(
        update(SyncRequest)
        .where(SyncRequest.run_id == run_id, SyncRequest.state == SyncRequestState.LAUNCHED)
        .values(
            state=SyncRequestState.FAILED if error else SyncRequestState.COMPLETED,
            finished_at=datetime.now(UTC),
            error=error,
        )
    )
