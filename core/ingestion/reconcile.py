"""What Shopify holds against what we hold: counts, every id with its time, statistics.

Changes nothing on its own word: what differs is asked for by id, and the answer decides.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.ingestion import access, refresh, runs, statistics
from core.ingestion.absent import HELD, Absent, ask_for_absent
from core.ingestion.bulk_file import BulkFile
from core.ingestion.exports import Export, Exports, Outcome
from core.ingestion.live import LiveRun
from core.ingestion.loads import name_of
from core.ingestion.operations import (
    Failed,
    Finished,
    OperationLostError,
    Operations,
    mark_loaded,
)
from core.ingestion.screen import Screen
from core.ingestion.staging import Counts, Staged, drop_leftovers, stage
from core.ingestion.statements import statement
from core.ingestion.sync_log import WORDS, SyncLog
from core.ingestion.windows import Window
from core.models import Shop, SyncRun
from core.models.enums import BulkPurpose, ObjectType, SyncKind
from core.settings import Settings
from core.shopify.client import ExpiredUrlError, ShopifyClient
from core.shopify.documents import load

TYPES: Final = (ObjectType.CUSTOMER, ObjectType.ORDER)
REASON: Final = "differs from Shopify"
FAILURES: Final = 3
# By id some hundred objects a minute are read; of more a full sync brings them sooner.
ASKED_AT_MOST: Final = 10_000
_COUNTS: Final = {ObjectType.CUSTOMER: "customersCount", ObjectType.ORDER: "ordersCount"}


@dataclass
class TypeReport:
    """One type. `shopify` is None where Shopify stopped counting; `missing`, `stale` and `absent`
    are None where the ids could not be compared.
    """

    shopify: int | None = None
    held: int = 0
    missing: int | None = None
    stale: int | None = None
    absent: int | None = None
    asked_for: int = 0


@dataclass(frozen=True)
class ReconcileReport:
    """What one reconciliation found. `seconds` is real time."""

    sync_run_id: int
    types: dict[ObjectType, TypeReport]
    statistics_corrected: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            **{WORDS[object_type]: asdict(found) for object_type, found in self.types.items()},
            "statistics_corrected": self.statistics_corrected,
            "sync_run": self.sync_run_id,
            "seconds": round(self.seconds, 1),
        }


def run_reconcile(
    factory: SessionFactory,
    client: ShopifyClient,
    *,
    shop_id: int,
    clock: Clock,
    run_id: str | None,
    settings: Settings,
    sleep: Callable[[float], None] = time.sleep,
    asked_at_most: int = ASKED_AT_MOST,
) -> ReconcileReport:
    """Compare the shop with Shopify and ask for what differs, of each type at most so many;
    statistics that differ from the orders are recomputed.

    Raises TransientError or PermanentError, said in words in the row and the log of the run too.
    """
    began = time.monotonic()
    kind = SyncKind.RECONCILE
    with runs.only_one(factory, shop_id):
        sync_run_id = runs.start(factory, shop_id, kind=kind, run_id=run_id, clock=clock)
        sync_log = SyncLog(factory, shop_id, sync_run_id, clock)
        live = LiveRun(factory, shop_id, sync_run_id, Counts())
        purpose = BulkPurpose.COMPARE
        operations = Operations(factory, client, shop_id, sync_run_id, clock, sleep, purpose)
        with runs.ending(sync_log, kind=kind):
            access.check_shop(client, sync_log)
            access.note_version(client, sync_log)
            with session_scope(factory) as session:
                drop_leftovers(session, shop_id)
            comparison = _Comparison(factory, operations, live, sync_log, settings, asked_at_most)
            comparison.run()
            report = ReconcileReport(
                sync_run_id=sync_run_id,
                types=comparison.found,
                statistics_corrected=_correct_statistics(sync_log),
                seconds=time.monotonic() - began,
            )
            with session_scope(factory) as session:
                session.get_one(SyncRun, (shop_id, sync_run_id)).report = report.as_json()
    return report


def _correct_statistics(sync_log: SyncLog) -> int:
    """Recompute statistics that differ from the orders; returns how many customers' did."""
    shop_id = sync_log.shop_id
    with session_scope(sync_log.factory) as session:
        wrong = statistics.mismatches(session, shop_id)
        if wrong:
            statistics.recompute_all(session, shop_id, touched_at=sync_log.clock.now())
    if wrong:
        sync_log.warning(
            f"The order statistics of {wrong:,} customers differed from their orders and were "
            "computed anew."
        )
    return wrong


@dataclass
class _Comparison:
    factory: SessionFactory
    operations: Operations
    live: LiveRun
    sync_log: SyncLog
    settings: Settings
    asked_at_most: int
    found: dict[ObjectType, TypeReport] = field(default_factory=dict)

    def run(self) -> None:
        self._count()
        self.exports = Exports(self.operations, self.sync_log, self.live)
        for object_type in TYPES:
            self.exports.add(self._begin(object_type))
        for export, outcome in self.exports.ended():
            try:
                self._take(export, outcome)
            except OperationLostError as error:
                self.exports.ask_again(export, error)
            except ExpiredUrlError as error:
                # Its address was renewed once already.
                self.operations.fail(export.running, status=None, code="EXPIRED_URL")
                self.exports.ask_again(export, OperationLostError(str(error)))

    def _count(self) -> None:
        """Shopify's own counts; it stops counting somewhere and says so."""
        counts = self.operations.client.execute(load("counts"))
        with session_scope(self.factory) as session:
            for object_type in TYPES:
                theirs = counts[_COUNTS[object_type]]
                is_exact = theirs and theirs["precision"] == "EXACT"
                table, _, alive = HELD[object_type]
                held: int = session.execute(
                    text(f"SELECT count(*) FROM {table} WHERE held.shop_id = :shop_id AND {alive}"),
                    {"shop_id": self.operations.shop_id},
                ).scalar_one()
                self.found[object_type] = TypeReport(
                    shopify=int(theirs["count"]) if is_exact else None, held=held
                )

    def _begin(self, object_type: ObjectType) -> Export:
        """What a former run had asked for, unless the shop has moved on since."""
        everything = Window()
        left = self.operations.resume(object_type, [everything]).get(everything)
        if left and self.operations.is_old(left):
            self.operations.give_up(left, code="OLD")
            left = None
        return Export(object_type, everything, left, is_resumed=left is not None)

    def _take(self, export: Export, outcome: Outcome) -> None:
        if isinstance(outcome, Finished):
            self._compare(export, outcome)
        elif isinstance(outcome, Failed):
            self._go_on(export, outcome)
        else:
            raise outcome

    def _go_on(self, export: Export, failed: Failed) -> None:
        """Half a list of ids is no list: ask again, and in the end do without."""
        self.operations.fail(export.running, status="FAILED", code=failed.code)
        export.failures += 1
        if export.failures < FAILURES:
            self.exports.retry(export)
            return
        self._leave_out(
            export.object_type, f"Shopify gave up {FAILURES} times on listing them ({failed.code})."
        )

    def _leave_out(self, object_type: ObjectType, reason: str) -> None:
        words = f"The {WORDS[object_type]} could not be compared: {reason}"
        self.sync_log.warning(words, object_type)
        runs.warn(self.sync_log, words)

    def _compare(self, export: Export, finished: Finished) -> None:
        file = BulkFile(
            self.operations.client,
            finished.url,
            renew=partial(self.operations.renew, export.running),
            sleep=self.operations.sleep,
        )
        staged = stage(
            self.factory,
            file,
            shop_id=self.operations.shop_id,
            object_type=export.object_type,
            purpose=BulkPurpose.COMPARE,
            name=name_of(export.running.operation_id),
            counts=Counts(),
            reject=partial(self.live.reject, export.object_type),
            progress=self.live.progress,
            screen=None,
            processes=1,
        )
        try:
            file.check(object_count=finished.object_count, file_size=finished.file_size)
        except PermanentError as error:
            self.operations.fail(export.running, status="COMPLETED", code="INCOMPLETE_FILE")
            with session_scope(self.factory) as session:
                staged.drop(session)
            self._leave_out(export.object_type, str(error))
            return
        self._ask(export, finished, staged, file.lines_read)

    def _ask(self, export: Export, finished: Finished, staged: Staged, lines_read: int) -> None:
        """Ask for what differs and forget the staged ids, in one transaction."""
        object_type, now = export.object_type, self.operations.clock.now()
        report = self.found[object_type]
        with session_scope(self.factory) as session:
            _check_filled(session, staged, finished)
            staged.bound_plans(session)
            gone = self._ask_for_absent(session, object_type, finished, staged)
            self._ask_for_stale(session, object_type, staged, report)
            staged.drop(session)
            mark_loaded(session, export.running, finished, lines_read=lines_read, at=now)
        report.absent = len(gone.ids) if gone else 0
        report.asked_for += len(gone.ids) if gone and not gone.is_doubtful else 0
        if gone and gone.is_doubtful:
            self.sync_log.warning(gone.words, object_type)
            runs.warn(self.sync_log, gone.words)
        self._tell(object_type, report)

    def _ask_for_stale(
        self, session: Session, object_type: ObjectType, staged: Staged, report: TypeReport
    ) -> None:
        shop_id = self.operations.shop_id
        screen = Screen.load(session, shop_id, self.settings.secret_key)
        table, column, alive = HELD[object_type]
        found = session.execute(
            statement("find_stale", named=staged.ids_table, held=table, id=column, alive=alive),
            {"shop_id": shop_id, "object_type": object_type.value},
        ).all()
        is_customer = object_type is ObjectType.CUSTOMER
        rows = [
            row
            for row in found
            if not (screen and is_customer and screen.is_erased_customer(row.object_id))
        ]
        report.missing = sum(row.is_missing for row in rows)
        report.stale = len(rows) - report.missing
        ids = [row.object_id for row in rows[: self.asked_at_most]]
        refresh.request(session, shop_id, object_type, ids, REASON, at=self.operations.clock.now())
        report.asked_for += len(ids)

    def _ask_for_absent(
        self, session: Session, object_type: ObjectType, finished: Finished, staged: Staged
    ) -> Absent | None:
        """Without the scope read_all_orders Shopify does not name the older orders."""
        shop = session.get_one(Shop, self.operations.shop_id)
        if object_type is ObjectType.ORDER and access.scope_warning(shop.access_scopes):
            return None
        return ask_for_absent(
            session,
            shop.shop_id,
            object_type,
            named=staged.ids_table,
            named_id="object_id",
            began_at=finished.created_at,
            at=self.operations.clock.now(),
            reason="not named in a reconciliation",
        )

    def _tell(self, object_type: ObjectType, report: TypeReport) -> None:
        words = WORDS[object_type]
        differ = (report.missing or 0) + (report.stale or 0)
        if not differ and not report.absent:
            self.sync_log.info(f"All {report.held:,} {words} are as at Shopify.", object_type)
            return
        self.sync_log.warning(
            f"{words.capitalize()}: {report.missing:,} missing here, {report.stale:,} older than "
            f"Shopify's, {report.absent:,} not at Shopify. {report.asked_for:,} are read again.",
            object_type,
        )
        if differ > self.asked_at_most:
            self.sync_log.warning(
                f"So many {words} are brought sooner by a full sync: start one.", object_type
            )


def _check_filled(session: Session, staged: Staged, finished: Finished) -> None:
    """Raises TransientError when the database has crashed since: recovery empties these tables."""
    has_ids: bool = session.execute(
        text(f"SELECT EXISTS (SELECT FROM {staged.ids_table})")
    ).scalar_one()
    if finished.object_count and not has_ids:
        raise TransientError("The database was restarted and lost a list that was to be compared.")
