"""A bulk file in staging tables, from where one transaction takes it into `raw_shopify`.

The tables are UNLOGGED and committed, one set for each operation (docs/decisions/0013): filling
them holds no transaction open, several connections and processes can fill them at once, and
nothing of it needs a session, so it works behind a transaction-mode pooler. They go with the
transaction that applies them; what a killed process left goes at the shop's next start.

Needs a few MiB whatever the size of the file. A line that cannot be read is put aside with its
number and the reason, and the rest goes on.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.database import SessionFactory, session_scope
from core.ingestion import bulk_orders, checkouts, customers, plans, products
from core.ingestion.bulk_file import BulkFile
from core.ingestion.copies import Copies, copying
from core.ingestion.decoding import Decoder, Format, Reject, format_of
from core.ingestion.frames import Job, Told
from core.ingestion.screen import Screen
from core.ingestion.workers import helpers
from core.models.base import STAGING
from core.models.enums import BulkPurpose, ObjectType

if TYPE_CHECKING:
    from psycopg import Connection

Progress = Callable[[], None]
JOINED: Final = ("bigint", "timestamptz")
ALONE: Final = 32  # blocks: 4 MiB are read before a helper would have started
LONGEST_NAME: Final = 63  # PostgreSQL cuts longer ones


@dataclass
class Counts:
    """Objects read so far."""

    customers: int = 0
    orders: int = 0
    order_lines: int = 0
    checkouts: int = 0
    products: int = 0

    def add(self, rows: dict[str, int]) -> None:
        """Rows by staging table; tables that are no count of a sync's are left out."""
        for name, number in rows.items():
            if name in self.__dataclass_fields__:
                setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True)
class Applied:
    """What became of the staged rows. `orphans`: children whose parent is nowhere, which are in
    `rejected_lines`; those of orders have been counted as `order_lines` while they were staged.
    """

    orphans: int = 0


@dataclass(frozen=True)
class Staged:
    """A whole file in its tables. `tables`: name → table in the database, the root's first."""

    shop_id: int
    object_type: ObjectType
    purpose: BulkPurpose
    tables: dict[str, str]

    @property
    def ids_table(self) -> str:
        """Of a comparison: the table with the columns object_id and updated_at."""
        return self.tables["ids"]

    def last_position(self, session: Session) -> tuple[datetime, int] | None:
        """The largest (updated_at, id) of the objects asked for."""
        root = format_of(self.object_type, self.purpose).kinds[0].table
        key = root.key
        found = session.execute(
            text(
                f"SELECT updated_at, {key} AS object_id FROM {self.tables[root.name]}"
                f" ORDER BY updated_at DESC, {key} DESC LIMIT 1"
            )
        ).one_or_none()
        return (found.updated_at, found.object_id) if found else None

    def apply(self, session: Session, *, sync_run_id: int, at: datetime) -> Applied:
        """Everything into `raw_shopify`, with the statistics of everyone it touches, in the
        caller's transaction; the staging tables end with it.

        Holds the shop's lock of bulk loads: whoever applies webhooks leaves them for later while
        it is held, instead of waiting for rows of ours.
        """
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('ecomcrm bulk apply'), :shop_id)"),
            {"shop_id": self.shop_id},
        )
        self.bound_plans(session)
        orphans = self._apply(session, sync_run_id=sync_run_id, at=at)
        self.drop(session)
        return Applied(orphans=orphans)

    def _apply(self, session: Session, *, sync_run_id: int, at: datetime) -> int:
        shop_id, tables = self.shop_id, self.tables
        if self.purpose is BulkPurpose.COMPARE:
            return 0
        if self.object_type is ObjectType.CUSTOMER:
            customers.apply_bulk(session, shop_id, tables["customers"])
        elif self.object_type is ObjectType.PRODUCT:
            products.apply_bulk(session, shop_id, tables["products"])
        elif self.object_type is ObjectType.CHECKOUT:
            return checkouts.apply_bulk(session, shop_id, tables, sync_run_id=sync_run_id)
        else:
            return bulk_orders.apply_bulk(session, shop_id, tables, sync_run_id=sync_run_id, at=at)
        return 0

    def bound_plans(self, session: Session) -> None:
        """Before whatever joins the staged rows in this transaction (core/ingestion/plans.py)."""
        plans.bound(session, self.tables.values())

    def drop(self, session: Session) -> None:
        session.execute(text(f"DROP TABLE IF EXISTS {', '.join(self.tables.values())}"))


def stage(
    factory: SessionFactory,
    file: BulkFile,
    *,
    shop_id: int,
    object_type: ObjectType,
    purpose: BulkPurpose,
    name: str,
    counts: Counts,
    reject: Reject,
    progress: Progress,
    screen: Screen | None,
    processes: int = 1,
) -> Staged:
    """Copy the file into tables of its own, whose names contain `name`.

    `counts` grows and `reject` is called (line number, line, reason) as lines are read; both in
    the caller's thread. Whoever does not `apply` the result must `drop` it. Raises TransientError
    when a helper process dies, psycopg's errors when the database refuses, and what reading the
    file raises; then the tables are left for `drop_leftovers`.
    """
    format_ = format_of(object_type, purpose)
    staged = Staged(shop_id, object_type, purpose, _names(shop_id, name, format_))
    _create(factory, staged, format_)
    reading = _Reading(file, staged, Decoder(format_, screen, reject), counts, reject, progress)
    job = Job(_conninfo(factory), object_type.value, purpose.value, staged.tables, screen)
    columns = {staged.tables[table.name]: table.columns for table in format_.tables}
    with copying(partial(_pooled, factory), columns) as copies:
        reading.read(copies, job, processes - 1)
    _analyze(factory, staged, format_)
    return staged


def drop_leftovers(session: Session, shop_id: int) -> int:
    """Drop what a killed process left of the shop's files. Only under the shop's sync lock: no
    load of the shop may be alive. Returns how many tables there were.
    """
    names: list[str] = list(
        session.execute(
            text(
                "SELECT relname FROM pg_class"
                " WHERE relnamespace = CAST(:schema AS regnamespace) AND relkind = 'r'"
                " AND starts_with(relname, :prefix)"
            ),
            {"schema": STAGING, "prefix": _prefix(shop_id)},
        ).scalars()
    )
    for name in names:
        session.execute(text(f'DROP TABLE IF EXISTS {STAGING}."{name}"'))
    return len(names)


@dataclass(frozen=True)
class _Reading:
    """One file on its way into its tables, and who is told of it."""

    file: BulkFile
    staged: Staged
    decoder: Decoder
    counts: Counts
    reject: Reject
    progress: Progress

    def read(self, copies: Copies, job: Job, helper_count: int) -> None:
        """Everything here, until the file turns out to be worth helpers; they have committed at
        the end, and a load whose own rows are not committed then has failed.
        """
        blocks = self.file.blocks()
        for block in islice(blocks, ALONE) if helper_count else blocks:
            self._here(block, copies)
            self.progress()
        if (first := next(blocks, None)) is None:
            return
        with helpers(job, helper_count) as at_work:
            for block in chain([first], blocks):
                if at_work.offer(block, self.file.lines_read + 1):
                    self.file.lines_read += block.count(b"\n") + (not block.endswith(b"\n"))
                else:
                    self._here(block, copies)
                self._note(at_work.told())
                self.progress()
            self._note(at_work.finish())
        self.progress()

    def _here(self, block: bytes, copies: Copies) -> None:
        rows = self.decoder.block(block, self.file.lines_read + 1)
        self.file.lines_read += rows.lines
        for name, content in rows.text.items():
            copies.write(self.staged.tables[name], content)
        self.counts.add(rows.counts)

    def _note(self, heard: Iterable[tuple[int, Told]]) -> None:
        for number, told in heard:
            if told.counts is None:
                self.reject(number, told.line, told.reason)
            else:
                self.counts.add(told.counts)


def _create(factory: SessionFactory, staged: Staged, format_: Format) -> None:
    with session_scope(factory) as session:
        staged.drop(session)
        for table in format_.tables:
            typed = ", ".join(f"{column} {kind}" for column, kind in table.columns)
            session.execute(text(f"CREATE UNLOGGED TABLE {staged.tables[table.name]} ({typed})"))


def _analyze(factory: SessionFactory, staged: Staged, format_: Format) -> None:
    """Tell the planner of the columns that are joined by; the others would cost five times that.
    Few rows get indexes.

    A tenth of the usual sample: their values are ids and times, of which it needs no histogram.
    """
    with session_scope(factory) as session:
        session.execute(text("SET LOCAL default_statistics_target = 10"))
        for table in format_.tables:
            name = staged.tables[table.name]
            joined = ", ".join(column for column, kind in table.columns if kind in JOINED)
            if not plans.are_many(session, [name]):
                plans.index_few(session, name, table.joined_by)
            session.execute(text(f"ANALYZE {name} ({joined})"))


def _names(shop_id: int, name: str, format_: Format) -> dict[str, str]:
    safe = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    names = {table.name: f"{_prefix(shop_id)}{safe}__{table.name}" for table in format_.tables}
    if not safe or max(map(len, names.values())) > LONGEST_NAME:
        raise ValueError(f"no name for staging tables: {name!r}")
    return {table: f'{STAGING}."{full}"' for table, full in names.items()}


def _prefix(shop_id: int) -> str:
    return f"s{shop_id}__"


def _pooled(factory: SessionFactory) -> "Connection[Any]":
    """A connection of the pool, with the driver's COPY; closing it gives it back."""
    return cast("Connection[Any]", _engine(factory).raw_connection())


def _conninfo(factory: SessionFactory) -> str:
    url = _engine(factory).url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def _engine(factory: SessionFactory) -> Engine:
    return cast("Engine", factory.kw["bind"])
