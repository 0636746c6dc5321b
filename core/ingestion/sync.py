"""One sync of one shop: bulk operations → files → staging → one upsert per object type.

May fail or be killed at any point: what is committed is whole, cursors only move with the data
they speak of, and the next sync goes on from there.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.ingestion import customers, orders, runs
from core.ingestion.bulk_file import BulkFile
from core.ingestion.live import LiveRun
from core.ingestion.operations import (
    Finished,
    OperationLostError,
    Operations,
    Window,
    mark_loaded,
)
from core.ingestion.staging import Counts, stage_customers, stage_orders
from core.models import BulkOperation, Shop, SyncCursor
from core.models.enums import ObjectType, SyncKind
from core.shopify.client import ShopifyClient

log = logging.getLogger(__name__)

# A search by `updated_at` matches whole days, and the search index lags (shopify.md §5.5).
OVERLAP: Final = timedelta(days=1)
OPERATIONS_LOST: Final = 3
TYPES: Final = (ObjectType.CUSTOMER, ObjectType.ORDER)
FILLED: Final = ("customers", "orders", "order_lines", "customer_statistics")


@dataclass(frozen=True)
class SyncReport:
    """What one sync read. `seconds` is real time."""

    sync_run_id: int
    customers: int
    orders: int
    order_lines: int
    rejected: int
    seconds: float


def run_sync(
    factory: SessionFactory,
    client: ShopifyClient,
    *,
    shop_id: int,
    kind: SyncKind,
    clock: Clock,
    run_id: str | None,
    sleep: Callable[[float], None] = time.sleep,
) -> SyncReport:
    """Bring customers and orders of the shop up to date.

    `clock` is the shop's business clock. FULL reads everything, INCREMENTAL what changed since
    the last sync (everything where there was none). Raises TransientError or PermanentError, said
    in words in the row of the run too.
    """
    began = time.monotonic()
    with runs.only_one(factory, shop_id):
        sync_run_id = runs.start(factory, shop_id, kind=kind, run_id=run_id, clock=clock)
        with session_scope(factory) as session:
            words = runs.scope_warning(session.get_one(Shop, shop_id).access_scopes)
        if words:
            runs.warn(factory, shop_id, sync_run_id, words)
        counts = Counts()
        live = LiveRun(factory, shop_id, sync_run_id, counts)
        operations = Operations(factory, client, shop_id, sync_run_id, clock, sleep)
        sync = _Sync(factory, operations, kind, live, counts)
        try:
            sync.run()
        except BaseException as error:
            log.warning("Sync %d of shop %d failed: %s", sync_run_id, shop_id, type(error).__name__)
            runs.fail(factory, shop_id, sync_run_id, error=error, clock=clock)
            if isinstance(error, runs.DATABASE_ERRORS):
                # The chain would carry the failing row, a customer, into Dagster's log.
                raise TransientError(runs.in_words(error)) from None
            raise
        if kind is SyncKind.FULL:
            analyze(factory)
        runs.complete(factory, shop_id, sync_run_id, kind=kind, clock=clock)
    return SyncReport(
        sync_run_id=sync_run_id,
        customers=counts.customers,
        orders=counts.orders,
        order_lines=counts.order_lines,
        rejected=live.rejected,
        seconds=time.monotonic() - began,
    )


def analyze(factory: SessionFactory) -> None:
    """Tell the planner how large the tables have become.

    Autovacuum comes minutes later, and what reads them right after a first sync would be planned
    for empty tables. Without it the sync is whole all the same.
    """
    for table in FILLED:
        try:
            with session_scope(factory) as session:
                session.execute(text(f"ANALYZE raw_shopify.{table}"))
        except DBAPIError as error:
            log.warning("raw_shopify.%s was not analysed: %s", table, type(error.orig).__name__)


@dataclass(frozen=True)
class _Sync:
    factory: SessionFactory
    operations: Operations
    kind: SyncKind
    live: LiveRun
    counts: Counts

    def run(self) -> None:
        """Both operations run at Shopify while the first file is loaded here."""
        begun = [self._begin(object_type) for object_type in TYPES]
        for operation, resumed in begun:
            self._load_surely(operation)
            if resumed and self.operations.is_old(operation):
                self._load_surely(self._submit(operation.object_type))

    def _begin(self, object_type: ObjectType) -> tuple[BulkOperation, bool]:
        """The operation to load, and whether a former run had started it."""
        left = self.operations.resume(object_type, self._window(object_type))
        return (left, True) if left else (self._submit(object_type), False)

    def _submit(self, object_type: ObjectType) -> BulkOperation:
        return self.operations.submit(object_type, self._window(object_type))

    def _window(self, object_type: ObjectType) -> Window:
        if self.kind is SyncKind.FULL:
            return Window()
        cursor = cursor_of(self.factory, self.operations.shop_id, object_type)
        return Window(cursor - OVERLAP if cursor else None)

    def _load_surely(self, operation: BulkOperation) -> None:
        """Load the operation's file; where Shopify lost the operation, ask again."""
        for _ in range(OPERATIONS_LOST - 1):
            try:
                self._load(operation)
            except OperationLostError as error:
                log.info("Shop %d: %s Asking again.", operation.shop_id, error)
                operation = self._submit(operation.object_type)
            else:
                return
        self._load(operation)

    def _load(self, operation: BulkOperation) -> None:
        finished = self.operations.wait(operation)
        file = BulkFile(
            self.operations.client,
            finished.url,
            renew=partial(self.operations.renew, operation),
            sleep=self.operations.sleep,
        )
        before = (self.counts.customers, self.counts.orders, self.counts.order_lines)
        try:
            with session_scope(self.factory) as session:
                self._stage(session, operation.object_type, file)
                file.check(object_count=finished.object_count, file_size=finished.file_size)
                self._apply(session, operation, finished, file.lines_read)
        except BaseException as error:
            self.counts.customers, self.counts.orders, self.counts.order_lines = before
            if isinstance(error, PermanentError):
                self.operations.fail(operation, status="COMPLETED", code="INCOMPLETE_FILE")
            raise
        finally:
            self.live.show()

    def _stage(self, session: Session, object_type: ObjectType, file: BulkFile) -> None:
        stage = stage_customers if object_type is ObjectType.CUSTOMER else stage_orders
        reject = partial(self.live.reject, object_type)
        stage(session, file, self.counts, reject=reject, progress=self.live.progress)

    def _apply(
        self, session: Session, operation: BulkOperation, finished: Finished, lines_read: int
    ) -> None:
        """Staged rows, cursor and operation, all in the one transaction."""
        shop_id, now = operation.shop_id, self.operations.clock.now()
        if operation.object_type is ObjectType.CUSTOMER:
            customers.apply_bulk(session, shop_id)
        else:
            orphans = orders.apply_bulk(
                session, shop_id, sync_run_id=self.operations.sync_run_id, at=now
            )
            self.live.rejected += orphans
            self.counts.order_lines -= orphans
        move_cursor(
            session,
            operation,
            updated_at=finished.created_at,
            sync_run_id=self.operations.sync_run_id,
        )
        mark_loaded(session, operation, finished, lines_read=lines_read, at=now)


def cursor_of(factory: SessionFactory, shop_id: int, object_type: ObjectType) -> datetime | None:
    with session_scope(factory) as session:
        return session.scalars(
            select(SyncCursor.updated_at).where(
                SyncCursor.shop_id == shop_id, SyncCursor.object_type == object_type
            )
        ).one_or_none()


def move_cursor(
    session: Session, operation: BulkOperation, *, updated_at: datetime, sync_run_id: int
) -> None:
    """What Shopify changed before the operation began, by its own clock, is here. Never back."""
    row = insert(SyncCursor).values(
        shop_id=operation.shop_id,
        object_type=operation.object_type,
        updated_at=updated_at,
        sync_run_id=sync_run_id,
    )
    session.execute(
        row.on_conflict_do_update(
            index_elements=[SyncCursor.shop_id, SyncCursor.object_type],
            set_={"updated_at": row.excluded.updated_at, "sync_run_id": row.excluded.sync_run_id},
            where=SyncCursor.updated_at < row.excluded.updated_at,
        )
    )
