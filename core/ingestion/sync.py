"""One sync of one shop: bulk operations → files → staging → one upsert per file.

May fail or be killed at any point: what is committed is whole, cursors only move with the data
they speak of, and the next sync goes on from there.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, PermanentError
from core.ingestion import access, cursors, runs
from core.ingestion.exports import FLAT, Export, Exports, Outcome
from core.ingestion.live import LiveRun
from core.ingestion.loads import Loads
from core.ingestion.operations import Failed, Finished, OperationLostError, Operations
from core.ingestion.staging import Counts, drop_leftovers
from core.ingestion.sync_log import WORDS, SyncLog
from core.ingestion.windows import Window
from core.models import Shop
from core.models.enums import ObjectType, SyncKind
from core.settings import Settings
from core.shopify.client import ExpiredUrlError, ShopifyClient
from core.shopify.errors import AccessDeniedError

log = logging.getLogger(__name__)

# In the order in which they are asked for and, where there is a choice, loaded.
TYPES: Final = (ObjectType.CUSTOMER, ObjectType.ORDER, ObjectType.CHECKOUT, ObjectType.PRODUCT)
# Without these there is no CRM; without the others it shows less.
NEEDED: Final = frozenset({ObjectType.CUSTOMER, ObjectType.ORDER})
FAILURES: Final = 100  # of one type in one sync; Shopify is not well, and more would not help
FILLED: Final = (
    *("customers", "orders", "order_lines", "refunds", "checkouts", "products"),
    "customer_statistics",
)

_LESS: Final = {
    ObjectType.CHECKOUT: "The app may not read abandoned checkouts, so nobody can be reminded of a "
    "cart. It needs the scope read_orders and the permission to manage abandoned checkouts.",
    ObjectType.PRODUCT: "The app may not read products, so orders and checkouts are read without "
    "them: line items are shown without a picture and a link. It needs the scope read_products; "
    "once it has it, a full sync brings them.",
}


@dataclass(frozen=True)
class SyncReport:
    """What one sync read. `seconds` is real time."""

    sync_run_id: int
    customers: int
    orders: int
    order_lines: int
    rejected: int
    seconds: float
    checkouts: int = 0
    products: int = 0


def run_sync(
    factory: SessionFactory,
    client: ShopifyClient,
    *,
    shop_id: int,
    kind: SyncKind,
    clock: Clock,
    run_id: str | None,
    settings: Settings,
    sleep: Callable[[float], None] = time.sleep,
) -> SyncReport:
    """Bring customers, orders, abandoned checkouts and products of the shop up to date.

    `clock` is the shop's business clock. FULL reads everything, INCREMENTAL what changed since
    the last sync (everything where there was none). Raises TransientError or PermanentError, said
    in words in the row and the log of the run too.
    """
    began = time.monotonic()
    counts = Counts()
    with runs.only_one(factory, shop_id):
        sync_run_id = runs.start(factory, shop_id, kind=kind, run_id=run_id, clock=clock)
        sync_log = SyncLog(factory, shop_id, sync_run_id, clock)
        live = LiveRun(factory, shop_id, sync_run_id, counts)
        operations = Operations(factory, client, shop_id, sync_run_id, clock, sleep)
        with runs.ending(sync_log, kind=kind):
            access.check_shop(client, sync_log)
            access.note_version(client, sync_log)
            with session_scope(factory) as session:
                drop_leftovers(session, shop_id)
            _Sync(factory, operations, kind, live, sync_log, counts, settings).run()
            if kind is SyncKind.FULL:
                analyze(factory)
            sync_log.info(_totals(counts))
    return SyncReport(
        sync_run_id=sync_run_id,
        customers=counts.customers,
        orders=counts.orders,
        order_lines=counts.order_lines,
        rejected=live.rejected,
        seconds=time.monotonic() - began,
        checkouts=counts.checkouts,
        products=counts.products,
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


@dataclass
class _Sync:
    factory: SessionFactory
    operations: Operations
    kind: SyncKind
    live: LiveRun
    sync_log: SyncLog
    counts: Counts
    settings: Settings
    errors: list[PermanentError] = field(default_factory=list)
    failures: dict[ObjectType, int] = field(default_factory=dict)

    def run(self) -> None:
        """Everything runs at Shopify while what has ended first is loaded here.

        A type that fails for good stops no other. Its error is raised in the end, or only told
        where we can do without the type.
        """
        self.exports = Exports(self.operations, self.sync_log, self.live)
        self.loads = Loads(
            factory=self.factory,
            operations=self.operations,
            live=self.live,
            sync_log=self.sync_log,
            counts=self.counts,
            settings=self.settings,
            pending=self.exports.windows,
            complete_types=self._complete_types(),
        )
        try:
            for object_type in TYPES:
                self._begin(object_type)
            for export, outcome in self.exports.ended():
                self._follow_up(export, outcome)
                self._take(export, outcome)
                self.loads.apply_ready(are_customers_done=self._are_customers_done())
            self.loads.apply_ready(are_customers_done=True)
        finally:
            self.loads.drop_all()
        if self.errors:
            raise _together(self.errors)

    def _complete_types(self) -> frozenset[ObjectType]:
        """Without the scope read_all_orders an export of everything names only recent orders."""
        with session_scope(self.factory) as session:
            shop = session.get_one(Shop, self.operations.shop_id)
            sees_all = access.scope_warning(shop.access_scopes) is None
        return NEEDED if sees_all else NEEDED - {ObjectType.ORDER}

    def _begin(self, object_type: ObjectType) -> None:
        """Ask for the type's windows, or wait for what a former run had asked for."""
        with session_scope(self.factory) as session:
            wanted = cursors.windows(
                session,
                self.operations.shop_id,
                object_type,
                self.kind,
                now=self.operations.clock.now(),
            )
        left = self.operations.resume(object_type, wanted)
        for window in wanted:
            operation = left.get(window)
            if operation:
                held = Window.parse(operation.filter) or window
                self.exports.add(Export(object_type, held, operation, is_resumed=True))
                self._say(object_type, f"going on with the export of {_meaning(held)}.")
            else:
                self.exports.add(Export(object_type, window))
                self._say(object_type, f"asking Shopify for {_meaning(window)}.")

    def _say(self, object_type: ObjectType, words: str) -> None:
        self.sync_log.info(f"{WORDS[object_type].capitalize()}: {words}", object_type)

    def _are_customers_done(self) -> bool:
        return not self.exports.has(ObjectType.CUSTOMER)

    def _take(self, export: Export, outcome: Outcome) -> None:
        try:
            if isinstance(outcome, Finished):
                self.loads.stage(export, outcome)
            elif isinstance(outcome, Failed):
                self._go_on(export, outcome)
            else:
                raise outcome
        except OperationLostError as error:
            self.exports.ask_again(export, error)
        except ExpiredUrlError as error:
            # Its address was renewed once already.
            self.operations.fail(export.running, status=None, code="EXPIRED_URL")
            self.exports.ask_again(export, OperationLostError(str(error)))
        except PermanentError as error:
            self._set_aside(export, error)

    def _set_aside(self, export: Export, error: PermanentError) -> None:
        """The type fails, or is left out where we can do without; the others go on."""
        object_type = export.object_type
        self.exports.drop(export)
        if object_type in NEEDED:
            self.sync_log.error(f"{WORDS[object_type].capitalize()}: {error}", object_type)
            self.errors.append(error)
            return
        words = f"The {WORDS[object_type]} could not be read: {error}"
        if isinstance(error, AccessDeniedError):
            words = _LESS[object_type]
        self.sync_log.warning(words, object_type)
        runs.warn(self.sync_log, words)

    def _follow_up(self, export: Export, outcome: Outcome) -> None:
        """What was asked for long ago has come; ask for what has changed since, too."""
        is_old = export.is_resumed and self.operations.is_old(export.running)
        if not is_old or not isinstance(outcome, Finished) or export.window.field != "updated_at":
            return
        export.is_followed = True
        since = cursors.changed_since(outcome.created_at)
        self.exports.add(Export(export.object_type, since))
        self._say(export.object_type, f"asking for {_meaning(since)} as well.")

    def _go_on(self, export: Export, failed: Failed) -> None:
        """Shopify gave up: use what it had got done, ask again, or ask for less at once."""
        object_type, words = export.object_type, WORDS[export.object_type]
        self.failures[object_type] = self.failures.get(object_type, 0) + 1
        if self.failures[object_type] > FAILURES:
            self.operations.fail(export.running, status="FAILED", code=failed.code)
            raise self._hopeless(export, failed)
        rest = self._part(export, failed)
        if rest:
            self.sync_log.warning(
                f"Shopify gave up on the export of {words} on its way ({failed.code}). What it had "
                "got done is loaded, and it is asked for the rest.",
                object_type,
            )
            self.exports.add(Export(object_type, rest))
            return
        self.operations.fail(export.running, status="FAILED", code=failed.code)
        if export.failures == 0 and failed.code == "INTERNAL_SERVER_ERROR":
            export.failures = 1
            self.sync_log.warning(
                f"Shopify had an error of its own in the export of {words}. Asking again.",
                object_type,
            )
            self.exports.retry(export)
            return
        self._split(export, failed)

    def _part(self, export: Export, failed: Failed) -> Window | None:
        """Load the part of the file there is; the window of the rest, None where that is no help.

        Half a file of orders or checkouts may lack children of those it names.
        """
        if failed.partial_url is None or export.object_type not in FLAT:
            return None
        try:
            return self.loads.stage_partial(export, failed)
        except EcomCRMError as error:
            log.info("The part of an export cannot be used: %s", error)
            return None

    def _split(self, export: Export, failed: Failed) -> None:
        halves = export.window.halves(now=failed.created_at)
        if halves is None:
            raise self._hopeless(export, failed)
        self.sync_log.warning(
            f"Shopify gave up on the export of {WORDS[export.object_type]} ({failed.code}). "
            "It is asked for the same in two halves.",
            export.object_type,
        )
        for half in halves:
            self.exports.add(Export(export.object_type, half, failures=1))

    def _hopeless(self, export: Export, failed: Failed) -> PermanentError:
        return PermanentError(
            f"Shopify gives up on every export of {WORDS[export.object_type]} ({failed.code}), "
            f"however little is asked for ({_meaning(export.window)}). What came before is loaded. "
            "Sync again later; if it stays so, ask Shopify's support about failing bulk operations."
        )


def _totals(counts: Counts) -> str:
    return (
        f"Done. Shopify told of {counts.customers:,} customers, {counts.orders:,} orders with "
        f"{counts.order_lines:,} lines, {counts.checkouts:,} abandoned checkouts and "
        f"{counts.products:,} products."
    )


def _together(errors: list[PermanentError]) -> PermanentError:
    return errors[0] if len(errors) == 1 else PermanentError(" ".join(map(str, errors)))


def _meaning(window: Window) -> str:
    """In words, for the log."""
    if window.is_everything:
        return "everything"
    verb = "changed" if window.field == "updated_at" else "created"
    start = f" since {window.start:%Y-%m-%d %H:%M} UTC" if window.start else ""
    end = f" before {window.end:%Y-%m-%d %H:%M} UTC" if window.end else ""
    return f"what was {verb}{start}{end}"
