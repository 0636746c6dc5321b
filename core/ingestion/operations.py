"""Bulk operations: asked for, remembered, waited for.

The row in `bulk_operations` is committed before the first poll, so whoever comes after a crash
goes on with the operation instead of paying for it twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.models import BulkOperation
from core.models.enums import BulkState, ObjectType
from core.shopify.client import ShopifyClient
from core.shopify.documents import bulk_query, load

FIRST_POLL: Final = 0.2
LONGEST_POLL: Final = 5.0
SLOT_WAITS: Final = 120  # x 30 s: another app process holds all slots of this shop
SLOT_PAUSE: Final = 30.0
NO_SLOT: Final = frozenset({"OPERATION_IN_PROGRESS", "LIMIT_REACHED"})

_DOCUMENTS: Final = {ObjectType.CUSTOMER: "bulk_customers", ObjectType.ORDER: "bulk_orders"}


class OperationLostError(TransientError):
    """The operation will never give its file; a new one may."""


@dataclass(frozen=True)
class Window:
    """Which objects: all (`start` None), or those Shopify changed since."""

    start: datetime | None = None

    @property
    def search(self) -> str:
        if self.start is None:
            return ""
        return f"updated_at:>='{self.start:%Y-%m-%dT%H:%M:%SZ}'"

    def covers(self, other: "Window") -> bool:
        if self.start is None:
            return True
        return other.start is not None and self.start <= other.start


@dataclass(frozen=True)
class Finished:
    """What Shopify says of a completed operation. `created_at` is by Shopify's clock."""

    url: str | None
    object_count: int
    file_size: int | None
    created_at: datetime


@dataclass(frozen=True)
class Operations:
    """The bulk operations of one shop, for one sync run."""

    factory: SessionFactory
    client: ShopifyClient
    shop_id: int
    sync_run_id: int
    clock: Clock
    sleep: Callable[[float], None] = field(default=time.sleep)

    def resume(self, object_type: ObjectType, window: Window) -> BulkOperation | None:
        """An operation that a former run left behind and that covers the window.

        Others that were left behind are given up: their window is part of ours.
        """
        with session_scope(self.factory) as session:
            left = session.scalars(
                select(BulkOperation)
                .where(
                    BulkOperation.shop_id == self.shop_id,
                    BulkOperation.object_type == object_type,
                    BulkOperation.state == BulkState.SUBMITTED,
                )
                .order_by(BulkOperation.submitted_at.desc())
            ).all()
            chosen = None
            for operation in left:
                if chosen is None and Window(operation.window_start).covers(window):
                    chosen = operation
                    operation.sync_run_id = self.sync_run_id
                else:
                    operation.state = BulkState.FAILED
                    operation.finished_at = self.clock.now()
            return chosen

    def submit(self, object_type: ObjectType, window: Window) -> BulkOperation:
        """Start an operation and remember it. Raises PermanentError when Shopify refuses."""
        created = self._start(bulk_query(_DOCUMENTS[object_type], window.search))
        operation = BulkOperation(
            shop_id=self.shop_id,
            operation_id=created["id"],
            sync_run_id=self.sync_run_id,
            object_type=object_type,
            state=BulkState.SUBMITTED,
            filter=window.search,
            window_start=window.start,
            api_version=self.client.served_version,
            submitted_at=self.clock.now(),
            shopify_status=created["status"],
        )
        with session_scope(self.factory) as session:
            session.add(operation)
        return operation

    def _start(self, query: str) -> dict[str, Any]:
        for _ in range(SLOT_WAITS):
            answer = self.client.execute(load("bulk_operation_run"), {"query": query})
            result = answer["bulkOperationRunQuery"]
            errors = result["userErrors"]
            if not errors:
                created: dict[str, Any] = result["bulkOperation"]
                return created
            if not any(error["code"] in NO_SLOT for error in errors):
                said = "; ".join(error["message"] for error in errors)
                raise PermanentError(f"Shopify refuses the bulk operation: {said}")
            self.sleep(SLOT_PAUSE)
        raise TransientError(
            "Other bulk operations have held all of this shop's slots for an hour. "
            "Start the sync again later."
        )

    def wait(self, operation: BulkOperation) -> Finished:
        """Poll until the file is ready.

        Raises OperationLostError when Shopify gave up, PermanentError when it refuses; then the
        operation is remembered as failed.
        """
        pause = FIRST_POLL
        while True:
            state = self.read(operation)
            if state is None:
                self.fail(operation, status=None, code=None)
                raise OperationLostError("Shopify does not know the bulk operation any more.")
            if state["status"] in ("CREATED", "RUNNING"):
                self.sleep(pause)
                pause = min(pause * 1.5, LONGEST_POLL)
                continue
            if state["status"] == "COMPLETED":
                return self._finished(operation, state)
            raise self._ended_badly(operation, state)

    def read(self, operation: BulkOperation) -> dict[str, Any] | None:
        answer = self.client.execute(load("bulk_operation"), {"id": operation.operation_id})
        state: dict[str, Any] | None = answer["bulkOperation"]
        return state

    def renew(self, operation: BulkOperation) -> str:
        """A fresh address of the file. Raises OperationLostError when there is none."""
        state = self.read(operation)
        if state is None or state["status"] != "COMPLETED" or not state["url"]:
            self.fail(operation, status=state["status"] if state else None, code=None)
            raise OperationLostError("Shopify has removed the file of the bulk operation.")
        return str(state["url"])

    def _finished(self, operation: BulkOperation, state: dict[str, Any]) -> Finished:
        object_count = int(state["objectCount"])
        if state["url"] is None and object_count:
            self.fail(operation, status=state["status"], code="NO_URL")
            raise OperationLostError(f"Shopify announced {object_count} lines and gave no file.")
        return Finished(
            url=state["url"],
            object_count=object_count,
            file_size=int(state["fileSize"]) if state["fileSize"] is not None else None,
            created_at=datetime.fromisoformat(state["createdAt"]),
        )

    def _ended_badly(self, operation: BulkOperation, state: dict[str, Any]) -> Exception:
        """FAILED, CANCELED or EXPIRED. A cancelled one may have a url all the same: never read."""
        self.fail(operation, status=state["status"], code=state["errorCode"])
        if state["errorCode"] == "ACCESS_DENIED":
            return PermanentError(
                "The app may not read all of these fields. It needs the scopes read_customers and "
                "read_orders and access to protected customer data (name, email, phone)."
            )
        reason = state["errorCode"] or state["status"]
        return OperationLostError(f"Shopify ended the bulk operation: {reason}.")

    def fail(self, operation: BulkOperation, *, status: str | None, code: str | None) -> None:
        with session_scope(self.factory) as session:
            session.execute(
                update(BulkOperation)
                .where(
                    BulkOperation.shop_id == self.shop_id,
                    BulkOperation.operation_id == operation.operation_id,
                )
                .values(
                    state=BulkState.FAILED,
                    shopify_status=status,
                    error_code=code,
                    finished_at=self.clock.now(),
                )
            )

    def is_old(self, operation: BulkOperation) -> bool:
        """Whether the shop has moved on since the operation read it."""
        return self.clock.now() - operation.submitted_at > timedelta(hours=1)


def mark_loaded(
    session: Session, operation: BulkOperation, finished: Finished, *, lines_read: int, at: datetime
) -> None:
    """In the transaction that loads the file."""
    session.execute(
        update(BulkOperation)
        .where(
            BulkOperation.shop_id == operation.shop_id,
            BulkOperation.operation_id == operation.operation_id,
        )
        .values(
            state=BulkState.LOADED,
            shopify_status="COMPLETED",
            object_count=finished.object_count,
            file_size=finished.file_size,
            lines_read=lines_read,
            finished_at=at,
        )
    )
