"""What an export gave, loaded: file → staging tables → one transaction with its cursor.

A file is staged as soon as it is there. Orders are applied once the customers are, or every
customer whom they name would be asked for one by one.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, PermanentError, TransientError
from core.ingestion import cursors
from core.ingestion.absent import Absent, ask_for_absent
from core.ingestion.bulk_file import BulkFile
from core.ingestion.exports import Export
from core.ingestion.live import LiveRun
from core.ingestion.operations import Failed, Finished, Operations, mark_loaded
from core.ingestion.screen import Screen
from core.ingestion.staging import Counts, Staged, stage
from core.ingestion.sync_log import WORDS, SyncLog
from core.ingestion.windows import Window
from core.models.enums import BulkPurpose, ObjectType
from core.settings import Settings

_ROOTS: Final = {  # the staging table of a type's objects, and the column of their ids
    ObjectType.CUSTOMER: ("customers", "customer_id"),
    ObjectType.ORDER: ("orders", "order_id"),
}
DOWNLOADS: Final = 2  # of a file that arrives incomplete; then it is Shopify's file that is


@dataclass(frozen=True)
class Load:
    """A staged file that waits to be applied. `filled`: its tables that got rows."""

    export: Export
    outcome: Finished | Failed
    staged: Staged
    lines_read: int
    filled: tuple[str, ...]
    rejected: int = 0


@dataclass
class Loads:
    """The files of one sync.

    `pending` tells which windows of a type are still to come, `complete_types` of which types an
    export of everything names all that we may hold.
    """

    factory: SessionFactory
    operations: Operations
    live: LiveRun
    sync_log: SyncLog
    counts: Counts
    settings: Settings
    pending: Callable[[ObjectType], list[Window]]
    complete_types: frozenset[ObjectType]
    waiting: list[Load] = field(default_factory=list)
    _as_of: dict[ObjectType, datetime] = field(default_factory=dict)

    def stage(self, export: Export, finished: Finished) -> None:
        """Copy a whole file. Raises PermanentError where lines or bytes are not as announced."""
        for attempt in range(1, DOWNLOADS + 1):
            mark = self.live.mark()
            try:
                load = self._stage(export, finished, finished.url)
            except PermanentError as error:
                self.live.undo(mark)
                if attempt == DOWNLOADS:
                    self.operations.fail(export.running, status="COMPLETED", code="INCOMPLETE_FILE")
                    raise
                words = WORDS[export.object_type]
                self.sync_log.warning(
                    f"The file of {words} arrived incomplete and is fetched once more. {error}",
                    export.object_type,
                )
            else:
                self.waiting.append(load)
                return

    def _stage(self, export: Export, outcome: Finished | Failed, url: str | None) -> Load:
        file = BulkFile(
            self.operations.client,
            url,
            renew=partial(self._renew, export),
            sleep=self.operations.sleep,
        )
        with session_scope(self.factory) as session:
            screen = Screen.load(session, self.operations.shop_id, self.settings.secret_key)
        before, rejected_before = asdict(self.counts), self.live.rejected
        staged = stage(
            self.factory,
            file,
            shop_id=self.operations.shop_id,
            object_type=export.object_type,
            purpose=BulkPurpose.LOAD,
            name=name_of(export.running.operation_id),
            counts=self.counts,
            reject=partial(self.live.reject, export.object_type),
            progress=self.live.progress,
            screen=screen,
            processes=self.settings.ingest_processes,
        )
        try:
            _check(file, outcome)
        except BaseException:
            self._drop(staged)
            raise
        finally:
            self.live.show()
        filled = tuple(
            staged.tables[name]
            for name, count in asdict(self.counts).items()
            if name in staged.tables and count > before[name]
        )
        rejected = self.live.rejected - rejected_before
        return Load(export, outcome, staged, file.lines_read, filled, rejected)

    def _renew(self, export: Export) -> str:
        address = self.operations.renew(export.running)
        words = WORDS[export.object_type]
        self.sync_log.info(
            f"The address of the file of {words} had expired; Shopify gave a new one.",
            export.object_type,
        )
        return address

    def stage_partial(self, export: Export, failed: Failed) -> Window | None:
        """Load what a failed export had got done; returns the rest of its window.

        None, with nothing loaded, where that would be no step forward. The last line may have
        been cut off: it is not put aside, the rest begins with it.
        """
        mark = self.live.mark()
        try:
            load = self._stage(export, failed, failed.partial_url)
        except EcomCRMError:
            self.live.undo(mark)
            raise
        forgiven = self.live.forgive(export.object_type, mark, load.lines_read)
        load = replace(load, rejected=load.rejected - forgiven)
        with session_scope(self.factory) as session:
            position = load.staged.last_position(session)
        rest = export.window.after(position) if position else None
        if rest is None:
            self.live.undo(mark)
            self._drop(load.staged)
            return None
        self._apply(load, rest=rest)
        return rest

    def apply_ready(self, *, are_customers_done: bool) -> None:
        """Apply what is staged, customers first."""
        for load in sorted(self.waiting, key=_customers_first):
            if are_customers_done or load.export.object_type is ObjectType.CUSTOMER:
                self.waiting.remove(load)
                self._apply(load)

    def drop_all(self) -> None:
        """Forget what is staged and was not applied."""
        for load in self.waiting:
            self._drop(load.staged)
        self.waiting.clear()

    def _drop(self, staged: Staged) -> None:
        with session_scope(self.factory) as session:
            staged.drop(session)

    def _apply(self, load: Load, *, rest: Window | None = None) -> None:
        """Staged rows, cursor and operation, all in the one transaction."""
        export, shop_id = load.export, self.operations.shop_id
        now = self.operations.clock.now()
        pending = [*self.pending(export.object_type), *self._staged_windows(export.object_type)]
        if rest:
            pending.append(rest)
        as_of = self._as(load)
        with session_scope(self.factory) as session:
            _check_filled(session, load)
            load.staged.bound_plans(session)
            absent = self._ask_for_absent(session, load)
            applied = load.staged.apply(session, sync_run_id=self.operations.sync_run_id, at=now)
            position = cursors.reached(pending, as_of)
            if position and export.window.field == "updated_at":
                cursors.move(
                    session,
                    shop_id,
                    export.object_type,
                    position,
                    sync_run_id=self.operations.sync_run_id,
                )
            mark_loaded(session, export.running, load.outcome, lines_read=load.lines_read, at=now)
        self.live.rejected += applied.orphans
        if export.object_type is ObjectType.ORDER:
            self.counts.order_lines -= applied.orphans
        self.live.show()
        self._tell(replace(load, rejected=load.rejected + applied.orphans), absent)

    def _as(self, load: Load) -> datetime:
        """When the first export began of those that together are what this one is a part of."""
        began = load.outcome.created_at
        if load.export.is_followed or load.export.window.field != "updated_at":
            return began
        first = min(self._as_of.get(load.export.object_type, began), began)
        self._as_of[load.export.object_type] = first
        return first

    def _ask_for_absent(self, session: Session, load: Load) -> Absent | None:
        """After everything of a type was read in one go: what did it not name?"""
        object_type = load.export.object_type
        is_whole = load.export.window.is_everything and isinstance(load.outcome, Finished)
        if not is_whole or object_type not in self.complete_types:
            return None
        table, column = _ROOTS[object_type]
        return ask_for_absent(
            session,
            self.operations.shop_id,
            object_type,
            named=load.staged.tables[table],
            named_id=column,
            began_at=load.outcome.created_at,
            at=self.operations.clock.now(),
        )

    def _staged_windows(self, object_type: ObjectType) -> list[Window]:
        return [
            load.export.window for load in self.waiting if load.export.object_type is object_type
        ]

    def _tell(self, load: Load, absent: Absent | None) -> None:
        kind = load.export.object_type
        words = WORDS[kind]
        self.sync_log.info(f"Loaded {words}: {load.lines_read:,} lines of Shopify's file.", kind)
        if load.rejected:
            self.sync_log.warning(
                f"{load.rejected:,} lines of {words} could not be read. They were put aside; the "
                "rest is in.",
                kind,
            )
        if absent and absent.is_doubtful:
            self.sync_log.warning(absent.words, kind)
        elif absent:
            self.sync_log.info(absent.words, kind)


def _check_filled(session: Session, load: Load) -> None:
    """Raises TransientError when the database has crashed since the file was staged.

    Recovery empties unlogged tables without a word, and an empty file would pass for a whole one.
    """
    for table in load.filled:
        if not session.execute(text(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one():
            raise TransientError("The database was restarted and lost a file that was half loaded.")


def _customers_first(load: Load) -> bool:
    return load.export.object_type is not ObjectType.CUSTOMER


def name_of(operation_id: str) -> str:
    """The operation's number: a name for its tables."""
    return operation_id.rpartition("/")[2]


def _check(file: BulkFile, outcome: Finished | Failed) -> None:
    """A whole file is as announced. Of a part Shopify announces only what it had exported."""
    if isinstance(outcome, Finished):
        file.check(object_count=outcome.object_count, file_size=outcome.file_size)
    elif file.lines_read > outcome.object_count > 0:
        raise PermanentError(
            f"Shopify announced {outcome.object_count} lines and sent {file.lines_read}."
        )
