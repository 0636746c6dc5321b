"""Which windows a sync asks for, and how far the cursors say everything is here.

A cursor (time, id) says: everything that Shopify changed before it is here. It is moved in the
transaction that loads the data it speaks of, and never back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import exists, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.ingestion.windows import Window
from core.models import BulkOperation, Shop, SyncCursor, SyncRun
from core.models.enums import BulkPurpose, BulkState, ObjectType, SyncKind

Position = tuple[datetime, int]

# A search by `updated_at` matches whole days, and the search index lags (shopify.md §5.5).
OVERLAP: Final = timedelta(days=1)
# A refund or a fulfilment may leave its order's `updated_at` as it was (shopify.md §5.5): orders
# of the last month, in which most of that happens, are read again by their creation.
REREAD: Final = timedelta(days=30)
REREAD_EVERY: Final = timedelta(hours=20)  # so that a nightly sync always does, a second one not


@dataclass(frozen=True)
class Cursor:
    position: Position
    sync_run_id: int


def windows(
    session: Session, shop_id: int, object_type: ObjectType, kind: SyncKind, *, now: datetime
) -> list[Window]:
    """What a sync of this kind asks Shopify for."""
    cursor = cursor_of(session, shop_id, object_type)
    if cursor is None:
        return [Window()]
    if kind is SyncKind.FULL and not _is_checkpoint(session, shop_id, cursor):
        return [Window()]
    wanted = [since(cursor)]
    if (
        object_type is ObjectType.ORDER
        and kind is SyncKind.INCREMENTAL
        and not _was_reread(session, shop_id, now=now)
    ):
        start = (cursor.position[0] - REREAD).replace(microsecond=0)
        wanted.append(Window(start, field="created_at"))
    return wanted


def since(cursor: Cursor) -> Window:
    """What has changed since. In the middle of a large export exactly the rest of it."""
    time, number = cursor.position
    if number:
        return Window(time, past=number)
    return changed_since(time)


def changed_since(time: datetime) -> Window:
    return Window((time - OVERLAP).replace(microsecond=0))


def cursor_of(session: Session, shop_id: int, object_type: ObjectType) -> Cursor | None:
    found = session.get(SyncCursor, (shop_id, object_type), populate_existing=True)
    return Cursor((found.updated_at, found.object_id), found.sync_run_id) if found else None


def _is_checkpoint(session: Session, shop_id: int, cursor: Cursor) -> bool:
    """Whether the shop's first sync failed on its way and has left what it had loaded.

    Not where it could not see all orders: who has added the scope since wants the old ones too.
    """
    if session.get_one(Shop, shop_id).first_sync_completed_at is not None:
        return False
    run = session.get(SyncRun, (shop_id, cursor.sync_run_id))
    return run is not None and "read_all_orders" not in (run.warning or "")


def _was_reread(session: Session, shop_id: int, *, now: datetime) -> bool:
    return session.scalars(
        select(
            exists().where(
                BulkOperation.shop_id == shop_id,
                BulkOperation.object_type == ObjectType.ORDER,
                BulkOperation.purpose == BulkPurpose.LOAD,
                BulkOperation.state == BulkState.LOADED,
                BulkOperation.filter.startswith("created_at"),
                BulkOperation.finished_at > now - REREAD_EVERY,
            )
        )
    ).one()


def reached(pending: Iterable[Window], as_of: datetime) -> Position | None:
    """How far everything is here while `pending` windows are still to come.

    None: nowhere yet. `as_of` is when the first of the exports began, by Shopify's clock: what
    changed later may be missing from it.
    """
    lowest = min((window.lower for window in pending if _is_by_change(window)), default=None)
    if lowest is None:
        return as_of, 0
    if lowest[0] <= Window().lower[0]:
        return None
    return min(lowest, (as_of, 0))


def _is_by_change(window: Window) -> bool:
    return window.field == "updated_at"


def move(
    session: Session,
    shop_id: int,
    object_type: ObjectType,
    position: Position,
    *,
    sync_run_id: int,
) -> None:
    """Forward to `position`; never back."""
    row = insert(SyncCursor).values(
        shop_id=shop_id,
        object_type=object_type,
        updated_at=position[0],
        object_id=position[1],
        sync_run_id=sync_run_id,
    )
    session.execute(
        row.on_conflict_do_update(
            index_elements=[SyncCursor.shop_id, SyncCursor.object_type],
            set_={
                "updated_at": row.excluded.updated_at,
                "object_id": row.excluded.object_id,
                "sync_run_id": row.excluded.sync_run_id,
            },
            where=tuple_(SyncCursor.updated_at, SyncCursor.object_id)
            < tuple_(row.excluded.updated_at, row.excluded.object_id),
        )
    )
