"""How a shop's data stands, for the nav indicator, the command line and the alert."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.ingestion import access, runs
from core.models import InboxMessage, Shop, SyncRun
from core.models.enums import InboxState, ObjectType, SyncKind, SyncState

STALE_AFTER: Final = timedelta(hours=24)  # SHOP-09


class Face(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True)
class SyncStatus:
    """`age` is since the last sync that completed; counts and `expected` are of a running one.

    `expected` grows while Shopify exports; `warning` is what the last completed sync could not
    see, `error` why the last one failed. `failed_messages` have failed for good.
    """

    face: Face
    completed_at: datetime | None
    age: timedelta | None
    sync_run_id: int | None = None
    kind: SyncKind | None = None
    counts: dict[ObjectType, int] | None = None
    expected: dict[ObjectType, int] | None = None
    failed_messages: int = 0
    warning: str | None = None
    error: str | None = None

    @property
    def is_stale(self) -> bool:
        """No sync has completed in 24 hours, whatever the face says."""
        return self.age is None or self.age > STALE_AFTER


def sync_status(session: Session, shop_id: int, *, now: datetime) -> SyncStatus:
    """The shop's status at `now`, its business time. A reconciliation counts as running only."""
    last = _last(session, shop_id)
    last_sync = _last(session, shop_id, SyncRun.kind != SyncKind.RECONCILE)
    completed = _last(
        session,
        shop_id,
        SyncRun.kind != SyncKind.RECONCILE,
        SyncRun.state == SyncState.COMPLETED,
    )
    completed_at = completed.finished_at if completed else None
    age = now - completed_at if completed_at else None
    error = _error(session, shop_id, last_sync)
    running = last if last and _is_running(session, last) else None
    if running:
        face = Face.RUNNING
    elif error:
        face = Face.FAILED
    else:
        face = Face.STALE if age is None or age > STALE_AFTER else Face.IDLE
    shown = running or last_sync
    return SyncStatus(
        face=face,
        completed_at=completed_at,
        age=age,
        sync_run_id=shown.sync_run_id if shown else None,
        kind=shown.kind if shown else None,
        counts=_counts(running) if running else None,
        expected=_expected(running) if running else None,
        failed_messages=_failed_messages(session, shop_id),
        warning=completed.warning if completed else None,
        error=error,
    )


def _last(session: Session, shop_id: int, *conditions: ColumnElement[bool]) -> SyncRun | None:
    query = select(SyncRun).where(SyncRun.shop_id == shop_id, *conditions)
    newest = query.order_by(SyncRun.started_at.desc(), SyncRun.sync_run_id.desc()).limit(1)
    return session.scalars(newest).one_or_none()


def _is_running(session: Session, run: SyncRun) -> bool:
    return run.state is SyncState.RUNNING and runs.is_alive(session, run.shop_id)


def _error(session: Session, shop_id: int, last_sync: SyncRun | None) -> str | None:
    shop = session.get_one(Shop, shop_id)
    if shop.uninstalled_at is not None:
        return access.uninstalled_words(shop.uninstalled_at)
    if last_sync is None or last_sync.state is SyncState.COMPLETED:
        return None
    if last_sync.state is SyncState.RUNNING:
        return None if runs.is_alive(session, shop_id) else runs.DIED
    return last_sync.error or runs.DIED


def _counts(run: SyncRun) -> dict[ObjectType, int]:
    return {
        ObjectType.CUSTOMER: run.customers_loaded,
        ObjectType.ORDER: run.orders_loaded,
        ObjectType.CHECKOUT: run.checkouts_loaded,
        ObjectType.PRODUCT: run.products_loaded,
    }


def _expected(run: SyncRun) -> dict[ObjectType, int]:
    return {ObjectType(name): int(count) for name, count in (run.objects_expected or {}).items()}


def _failed_messages(session: Session, shop_id: int) -> int:
    return session.scalars(
        select(func.count()).where(
            InboxMessage.shop_id == shop_id,
            InboxMessage.state == InboxState.FAILED,
            InboxMessage.next_attempt_at.is_(None),
        )
    ).one()
