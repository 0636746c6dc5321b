"""What a running sync shows while it goes, in small transactions of its own."""

import time
from dataclasses import dataclass, fields, replace
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from core.database import SessionFactory, session_scope
from core.ingestion.staging import Counts
from core.models import RejectedLine, SyncRun
from core.models.enums import ObjectType

PROGRESS_SECONDS: Final = 0.5
REJECTS_AT_ONCE: Final = 200
KEPT_OF_LINE: Final = 64 * 2**10


@dataclass(frozen=True)
class Mark:
    """What had been counted and put aside at one moment."""

    counts: Counts
    rejected: int
    rejected_line_id: int


class LiveRun:
    """Counts, and lines that could not be read, of one run."""

    def __init__(
        self, factory: SessionFactory, shop_id: int, sync_run_id: int, counts: Counts
    ) -> None:
        self._factory = factory
        self._shop_id = shop_id
        self._sync_run_id = sync_run_id
        self._shown_at = 0.0
        self._waiting: list[dict[str, object]] = []
        self._counts = counts
        self._expected: dict[ObjectType, dict[str, int]] = {}
        self.rejected = 0

    def progress(self) -> None:
        """Show the counts, at most twice a second."""
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self.show()

    def expect(self, object_type: ObjectType, operation_id: str, objects: int) -> None:
        """Shopify has exported so many objects; what several exports of a type hold adds up."""
        self._expected.setdefault(object_type, {})[operation_id] = objects
        self.progress()

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

    def mark(self) -> Mark:
        """Where a file begins, to come back to when it has to be read once more."""
        self.show()
        with session_scope(self._factory) as session:
            last = session.scalars(
                select(func.max(RejectedLine.rejected_line_id)).where(
                    RejectedLine.shop_id == self._shop_id,
                    RejectedLine.sync_run_id == self._sync_run_id,
                )
            ).one()
        return Mark(replace(self._counts), self.rejected, last or 0)

    def undo(self, mark: Mark) -> None:
        """Forget what was counted and put aside since."""
        for field in fields(mark.counts):
            setattr(self._counts, field.name, getattr(mark.counts, field.name))
        self.rejected, self._waiting = mark.rejected, []
        with session_scope(self._factory) as session:
            session.execute(
                delete(RejectedLine).where(
                    RejectedLine.shop_id == self._shop_id,
                    RejectedLine.sync_run_id == self._sync_run_id,
                    RejectedLine.rejected_line_id > mark.rejected_line_id,
                )
            )
        self.show()

    def forgive(self, object_type: ObjectType, mark: Mark, number: int) -> int:
        """Take back that line `number` of the file since `mark` was put aside; 1 if it was."""
        with session_scope(self._factory) as session:
            gone = session.execute(
                delete(RejectedLine)
                .where(
                    RejectedLine.shop_id == self._shop_id,
                    RejectedLine.sync_run_id == self._sync_run_id,
                    RejectedLine.object_type == object_type,
                    RejectedLine.rejected_line_id > mark.rejected_line_id,
                    RejectedLine.line_number == number,
                )
                .returning(RejectedLine.rejected_line_id)
            ).all()
        self.rejected -= len(gone)
        return len(gone)

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
                    checkouts_loaded=self._counts.checkouts,
                    products_loaded=self._counts.products,
                    objects_expected={
                        object_type.value: sum(by_operation.values())
                        for object_type, by_operation in self._expected.items()
                    },
                    lines_rejected=self.rejected,
                )
            )
            if self._waiting:
                session.execute(insert(RejectedLine), self._waiting)
        self._waiting = []
