"""The rows that say how a sync goes, and the lock that says whether one is alive."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, TransientError
from core.ingestion.sync_log import SyncLog
from core.models import Shop, SyncRun
from core.models.enums import SyncKind, SyncState
from core.shops import business_clock

log = logging.getLogger(__name__)

DATABASE_ERRORS: Final = (SQLAlchemyError, psycopg.Error)  # COPY raises the driver's own
GO_ON: Final = "Start it again: it goes on where it was."
DIED: Final = "The process that ran this sync has died. The next sync goes on from there."

# Whether somebody holds the shop's sync lock, without touching it: taking it, if only to look,
# would turn away a sync that starts at this moment.
IS_ALIVE = text("""
-- Returns one boolean. Changes nothing. A two-part advisory key shows as classid and objid.
SELECT EXISTS (
    SELECT 1
    FROM pg_locks
    WHERE
        locktype = 'advisory'
        AND granted
        AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = (hashtext('ecomcrm sync')::bigint & 4294967295)
        AND objid::bigint = :shop_id
)
""")


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

    The shop's first sync fixes the instant before which orders are historical, before any is read.
    """
    now = clock.now()
    with session_scope(factory) as session:
        died = session.scalars(
            update(SyncRun)
            .where(SyncRun.shop_id == shop_id, SyncRun.state == SyncState.RUNNING)
            .values(state=SyncState.FAILED, finished_at=now, error=DIED)
            .returning(SyncRun.sync_run_id)
        ).all()
        if kind is not SyncKind.RECONCILE:
            session.execute(
                update(Shop)
                .where(Shop.shop_id == shop_id, Shop.first_sync_started_at.is_(None))
                .values(first_sync_started_at=now)
            )
        run = SyncRun(
            shop_id=shop_id,
            kind=kind,
            state=SyncState.RUNNING,
            run_id=run_id,
            started_at=now,
        )
        session.add(run)
        session.flush()
    for sync_run_id in died:
        SyncLog(factory, shop_id, sync_run_id, clock).error(DIED)
    return run.sync_run_id


def warn(sync_log: SyncLog, words: str) -> None:
    """Add to what a completed sync cannot see."""
    with session_scope(sync_log.factory) as session:
        run = session.get_one(SyncRun, (sync_log.shop_id, sync_log.sync_run_id))
        if words not in (run.warning or ""):
            run.warning = f"{run.warning} {words}" if run.warning else words


def complete(
    factory: SessionFactory, shop_id: int, sync_run_id: int, *, kind: SyncKind, clock: Clock
) -> None:
    now = clock.now()
    with session_scope(factory) as session:
        session.execute(
            update(SyncRun)
            .where(SyncRun.shop_id == shop_id, SyncRun.sync_run_id == sync_run_id)
            # Over a `failed` too: a sweep takes a sync whose lock connection was cut for dead.
            .values(state=SyncState.COMPLETED, finished_at=now, error=None)
        )
        if kind is not SyncKind.RECONCILE:
            session.execute(
                update(Shop)
                .where(Shop.shop_id == shop_id, Shop.first_sync_completed_at.is_(None))
                .values(first_sync_completed_at=now)
            )


def fail(sync_log: SyncLog, error: BaseException) -> None:
    """Say so in the row; where even that fails, the next sync finds it and says it died."""
    words = in_words(error)
    try:
        with session_scope(sync_log.factory) as session:
            session.execute(
                update(SyncRun)
                .where(
                    SyncRun.shop_id == sync_log.shop_id,
                    SyncRun.sync_run_id == sync_log.sync_run_id,
                )
                .values(state=SyncState.FAILED, finished_at=sync_log.clock.now(), error=words)
            )
        sync_log.error(words)
    except SQLAlchemyError as trouble:
        log.warning("Sync %d was not marked as failed: %s", sync_log.sync_run_id, type(trouble))


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


@contextmanager
def ending(sync_log: SyncLog, *, kind: SyncKind) -> Iterator[None]:
    """The body of a run: it ends as completed, or as failed with the reason in words."""
    factory, shop_id, sync_run_id = sync_log.factory, sync_log.shop_id, sync_log.sync_run_id
    try:
        yield
    except BaseException as error:
        log.warning("Sync %d of shop %d failed: %s", sync_run_id, shop_id, type(error).__name__)
        fail(sync_log, error)
        if isinstance(error, DATABASE_ERRORS):
            # The chain would carry the failing row, a customer, into Dagster's log.
            raise TransientError(in_words(error)) from None
        raise
    complete(factory, shop_id, sync_run_id, kind=kind, clock=sync_log.clock)


def is_alive(session: Session, shop_id: int) -> bool:
    """Whether a process holds the shop's sync lock."""
    alive: bool = session.execute(IS_ALIVE, {"shop_id": shop_id}).scalar_one()
    return alive


def sweep_dead(factory: SessionFactory, *, clock: Clock) -> int:
    """End as failed what is called running and whose process has died; returns how many.

    A run's row is written and ended under the shop's lock: one that is called running while
    nobody holds the lock is dead.
    """
    with session_scope(factory) as session:
        called_running = session.execute(
            select(SyncRun.shop_id, SyncRun.sync_run_id)
            .where(SyncRun.state == SyncState.RUNNING)
            .order_by(SyncRun.shop_id, SyncRun.sync_run_id)
        ).all()
    # Only now: a run that has ended meanwhile is no longer `running`, one that has begun is not
    # in the list.
    return sum(
        _bury(factory, shop_id, sync_run_id, clock=clock) for shop_id, sync_run_id in called_running
    )


def _bury(factory: SessionFactory, shop_id: int, sync_run_id: int, *, clock: Clock) -> bool:
    with session_scope(factory) as session:
        if is_alive(session, shop_id):
            return False
        run = session.scalars(
            select(SyncRun)
            .where(
                SyncRun.shop_id == shop_id,
                SyncRun.sync_run_id == sync_run_id,
                SyncRun.state == SyncState.RUNNING,
            )
            .with_for_update()
        ).one_or_none()
        if run is None:
            return False
        time = business_clock(session.get_one(Shop, shop_id), clock)
        run.state, run.finished_at, run.error = SyncState.FAILED, time.now(), DIED
    SyncLog(factory, shop_id, sync_run_id, time).error(DIED)
    return True


def fail_run_of(
    factory: SessionFactory,
    run_id: str,
    *,
    words: str,
    clock: Clock,
    shop_id: int | None = None,
    kind: SyncKind = SyncKind.INCREMENTAL,
) -> None:
    """The Dagster run `run_id` has failed; `words` say why. Repeating it changes nothing.

    A sync of it that is called running ends as failed. One that had ended keeps its outcome, and
    its log says what became of the run. A run that failed before it began a sync gets a failed
    one of its own where `shop_id` tells whose it would have been.
    """
    with session_scope(factory) as session:
        found = session.execute(
            select(SyncRun.shop_id, SyncRun.sync_run_id).where(SyncRun.run_id == run_id)
        ).all()
    for its_shop_id, sync_run_id in found:
        _fail_with_run(factory, its_shop_id, sync_run_id, words=words, clock=clock)
    if not found and shop_id is not None:
        _failed_before_it_began(
            factory, shop_id, run_id=run_id, kind=kind, words=words, clock=clock
        )


def _fail_with_run(
    factory: SessionFactory, shop_id: int, sync_run_id: int, *, words: str, clock: Clock
) -> None:
    with session_scope(factory) as session:
        run = session.get_one(SyncRun, (shop_id, sync_run_id), with_for_update=True)
        time = business_clock(session.get_one(Shop, shop_id), clock)
        if run.state is SyncState.RUNNING:
            run.state, run.finished_at, run.error = SyncState.FAILED, time.now(), words
        elif run.state is SyncState.COMPLETED:
            words = f"The data is in, but the job that read it failed afterwards: {words}"
            if words in (run.warning or ""):
                return
            run.warning = f"{run.warning} {words}" if run.warning else words
        else:
            return
    SyncLog(factory, shop_id, sync_run_id, time).error(words)


def _failed_before_it_began(
    factory: SessionFactory, shop_id: int, *, run_id: str, kind: SyncKind, words: str, clock: Clock
) -> None:
    with session_scope(factory) as session:
        now = business_clock(session.get_one(Shop, shop_id), clock).now()
        run = SyncRun(
            shop_id=shop_id,
            kind=kind,
            state=SyncState.FAILED,
            run_id=run_id,
            started_at=now,
            finished_at=now,
            error=words,
        )
        session.add(run)
