"""The rows that say how a sync goes, and the lock that says whether one is alive."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import psycopg
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, TransientError
from core.ingestion.staging import Counts
from core.models import RejectedLine, Shop, SyncCursor, SyncRun
from core.models.enums import ObjectType, SyncKind, SyncState

log = logging.getLogger(__name__)

PROGRESS_SECONDS: Final = 0.5
REJECTS_AT_ONCE: Final = 200
KEPT_OF_LINE: Final = 64 * 2**10
DATABASE_ERRORS: Final = (SQLAlchemyError, psycopg.Error)  # COPY raises the driver's own
GO_ON: Final = "Start it again: it goes on where it was."


@contextmanager
def only_one(factory: SessionFactory, shop_id: int) -> Iterator[None]:
    """Hold the shop's sync lock; it ends with the process, however that ends.

    The lock belongs to an open transaction rather than to a session, so it also holds behind a
    transaction-mode pooler. The transaction writes nothing and keeps no snapshot.
    Raises TransientError when another sync of the shop is alive.
    """
    session = factory()
    try:
        won: bool = session.execute(
            text("SELECT pg_try_advisory_xact_lock(hashtext('ecomcrm sync'), :shop_id)"),
            {"shop_id": shop_id},
        ).scalar_one()
        if not won:
            raise TransientError("Another sync of this shop is running; wait until it is done.")
        # Last, also because it closes the portal of the query above, which would keep its
        # snapshot, and with it vacuum from everything deleted since, as long as we are idle.
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield
    finally:
        # A lock connection that was cut meanwhile must not make a finished sync a failed one.
        with suppress(OperationalError):
            session.close()


def start(
    factory: SessionFactory, shop_id: int, *, kind: SyncKind, run_id: str | None, clock: Clock
) -> int:
    """Open a run under `only_one`: runs still called running have died. Returns its id.

    The shop's first run fixes the instant before which orders are historical, before any is read.
    """
    now = clock.now()
    with session_scope(factory) as session:
        session.execute(
            update(SyncRun)
            .where(SyncRun.shop_id == shop_id, SyncRun.state == SyncState.RUNNING)
            .values(
                state=SyncState.FAILED,
                finished_at=now,
                error="The process that ran this sync has died. The next sync went on from there.",
            )
        )
        session.execute(
            update(Shop)
            .where(Shop.shop_id == shop_id, Shop.first_sync_started_at.is_(None))
            .values(first_sync_started_at=now)
        )
        scopes = session.scalars(select(Shop.access_scopes).where(Shop.shop_id == shop_id)).one()
        run = SyncRun(
            shop_id=shop_id,
            kind=kind,
            state=SyncState.RUNNING,
            run_id=run_id,
            started_at=now,
            warning=scope_warning(scopes),
        )
        session.add(run)
        session.flush()
        return run.sync_run_id


def scope_warning(scopes: list[str]) -> str | None:
    """What this app cannot see, in words."""
    if "read_all_orders" in scopes:
        return None
    return (
        "The app lacks the scope read_all_orders: Shopify shows only orders of the last 60 days, "
        "so returning customers can look like first-time buyers. Add the scope and sync again."
    )


def complete(factory: SessionFactory, shop_id: int, sync_run_id: int, *, clock: Clock) -> None:
    now = clock.now()
    with session_scope(factory) as session:
        session.execute(
            update(SyncRun)
            .where(SyncRun.shop_id == shop_id, SyncRun.sync_run_id == sync_run_id)
            .values(state=SyncState.COMPLETED, finished_at=now)
        )
        session.execute(
            update(Shop)
            .where(Shop.shop_id == shop_id, Shop.first_sync_completed_at.is_(None))
            .values(first_sync_completed_at=now)
        )


def fail(
    factory: SessionFactory, shop_id: int, sync_run_id: int, *, error: BaseException, clock: Clock
) -> None:
    """Say so in the row; where even that fails, the next sync finds it and says it died."""
    try:
        with session_scope(factory) as session:
            session.execute(
                update(SyncRun)
                .where(SyncRun.shop_id == shop_id, SyncRun.sync_run_id == sync_run_id)
                .values(state=SyncState.FAILED, finished_at=clock.now(), error=in_words(error))
            )
    except SQLAlchemyError as trouble:
        log.warning("Sync %d could not be marked as failed: %s", sync_run_id, type(trouble))


def in_words(error: BaseException) -> str:
    """For the merchant. Only our own errors are quoted: others may quote data."""
    if isinstance(error, TransientError):
        return f"{error} {GO_ON}"
    if isinstance(error, EcomCRMError):
        return str(error)
    if isinstance(error, DATABASE_ERRORS):
        return f"The database had a problem ({type(error).__name__}). {GO_ON}"
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return f"The sync was stopped. {GO_ON}"
    return f"An error of EcomCRM itself ({type(error).__name__}); the log has the details. {GO_ON}"


def cursor_of(factory: SessionFactory, shop_id: int, object_type: ObjectType) -> datetime | None:
    with session_scope(factory) as session:
        return session.scalars(
            select(SyncCursor.updated_at).where(
                SyncCursor.shop_id == shop_id, SyncCursor.object_type == object_type
            )
        ).one_or_none()


class LiveRun:
    """What a running sync shows while it goes, in small transactions of its own."""

    def __init__(
        self, factory: SessionFactory, shop_id: int, sync_run_id: int, counts: Counts
    ) -> None:
        self._factory = factory
        self._shop_id = shop_id
        self._sync_run_id = sync_run_id
        self._shown_at = 0.0
        self._waiting: list[dict[str, object]] = []
        self._counts = counts
        self.rejected = 0

    def progress(self) -> None:
        """Show the counts, at most twice a second."""
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self.show()

    def reject(self, object_type: ObjectType, number: int, line: bytes, reason: str) -> None:
        self.rejected += 1
        self._waiting.append(
            {
                "shop_id": self._shop_id,
                "sync_run_id": self._sync_run_id,
                "object_type": object_type,
                "line_number": number,
                "content": line[:KEPT_OF_LINE],
                "error": reason,
            }
        )
        if len(self._waiting) >= REJECTS_AT_ONCE:
            self.show()

    def show(self) -> None:
        """Write the counts and the rejected lines that wait."""
        self._shown_at = time.monotonic()
        with session_scope(self._factory) as session:
            session.execute(
                update(SyncRun)
                .where(SyncRun.shop_id == self._shop_id, SyncRun.sync_run_id == self._sync_run_id)
                .values(
                    customers_loaded=self._counts.customers,
                    orders_loaded=self._counts.orders,
                    order_lines_loaded=self._counts.order_lines,
                    lines_rejected=self.rejected,
                )
            )
            if self._waiting:
                session.execute(insert(RejectedLine), self._waiting)
        self._waiting = []
