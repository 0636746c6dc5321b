"""Bulk operations of one shop: asked for, remembered, read, ended.

The row in `bulk_operations` is committed before the first poll, so whoever comes after a crash
goes on with the operation instead of paying for it twice. When to ask and poll is decided in
core/ingestion/exports.py.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, PermanentError, TransientError
from core.ingestion.windows import Window
from core.models import BulkOperation, Shop
from core.models.enums import BulkPurpose, BulkState, ObjectType
from core.scopes import left_out
from core.shopify.client import ShopifyClient
from core.shopify.documents import bulk_query, load
from core.shopify.errors import AccessDeniedError

log = logging.getLogger(__name__)

NO_SLOT: Final = frozenset({"OPERATION_IN_PROGRESS", "LIMIT_REACHED"})
# CANCELING holds its slot and still ends as CANCELED.
IN_WORK: Final = frozenset({"CREATED", "RUNNING", "CANCELING"})
# What is left behind for longer is loaded, and what has changed since is asked for as well.
OLD_AFTER: Final = timedelta(hours=1)
ACCESS_DENIED: Final = (
    "The app may not read all of these fields. It needs the scopes read_customers and read_orders "
    "and access to protected customer data (name, email, phone). Add what is missing in the Dev "
    "Dashboard, install the app anew and sync again."
)

_DOCUMENTS: Final = {
    (ObjectType.CUSTOMER, BulkPurpose.LOAD): "bulk_customers",
    (ObjectType.ORDER, BulkPurpose.LOAD): "bulk_orders",
    (ObjectType.CHECKOUT, BulkPurpose.LOAD): "bulk_checkouts",
    (ObjectType.PRODUCT, BulkPurpose.LOAD): "bulk_products",
    (ObjectType.CUSTOMER, BulkPurpose.COMPARE): "bulk_compare_customers",
    (ObjectType.ORDER, BulkPurpose.COMPARE): "bulk_compare_orders",
}


class OperationLostError(TransientError):
    """The operation will never give its file; a new one may."""


class NoSlotError(TransientError):
    """Shopify runs as many operations of this app and shop as it allows."""


@dataclass(frozen=True)
class Finished:
    """What Shopify says of a completed operation. `created_at` is by Shopify's clock."""

    url: str | None
    object_count: int
    file_size: int | None
    created_at: datetime


@dataclass(frozen=True)
class Failed:
    """Shopify gave up on the export; `partial_url` holds what it had got done, where it says so.

    `code` is INTERNAL_SERVER_ERROR, TIMEOUT or whatever Shopify invents next.
    """

    code: str
    partial_url: str | None
    object_count: int
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
    purpose: BulkPurpose = BulkPurpose.LOAD

    def resume(self, object_type: ObjectType, windows: list[Window]) -> dict[Window, BulkOperation]:
        """For each window the operation that a former run left behind and that covers it.

        All others that were left behind are given up and cancelled: their window is part of ours,
        and they would hold slots that we are about to ask for.
        """
        with session_scope(self.factory) as session:
            left = session.scalars(
                select(BulkOperation)
                .where(
                    BulkOperation.shop_id == self.shop_id,
                    BulkOperation.object_type == object_type,
                    BulkOperation.state == BulkState.SUBMITTED,
                    BulkOperation.purpose == self.purpose,
                )
                .order_by(BulkOperation.submitted_at.desc(), BulkOperation.operation_id)
            ).all()
            chosen: dict[Window, BulkOperation] = {}
            given_up = []
            for operation in left:
                held = Window.parse(operation.filter)
                open_ = [window for window in windows if window not in chosen]
                window = next((each for each in open_ if held and held.covers(each)), None)
                if window is None:
                    operation.state = BulkState.FAILED
                    operation.finished_at = self.clock.now()
                    given_up.append(operation)
                else:
                    chosen[window] = operation
                    operation.sync_run_id = self.sync_run_id
        for operation in given_up:
            self.cancel(operation)
        return chosen

    def give_up(self, operation: BulkOperation, *, code: str) -> None:
        """Its file is of no use any more, finished or not."""
        self.fail(operation, status=None, code=code)
        self.cancel(operation)

    def cancel(self, operation: BulkOperation) -> None:
        """Free the slot of an operation of ours; one that has ended holds none.

        Whether it succeeds or not, nothing waits for it.
        """
        try:
            self.client.execute(load("bulk_operation_cancel"), {"id": operation.operation_id})
        except EcomCRMError as error:
            log.info("A bulk operation that was given up was not cancelled: %s", error)

    def submit(self, object_type: ObjectType, window: Window) -> BulkOperation:
        """Start an operation and remember it.

        Raises NoSlotError while Shopify runs as many as it allows, AccessDeniedError or
        PermanentError when it refuses.
        """
        created = self._start(object_type, window)
        operation = BulkOperation(
            shop_id=self.shop_id,
            operation_id=created["id"],
            sync_run_id=self.sync_run_id,
            object_type=object_type,
            state=BulkState.SUBMITTED,
            purpose=self.purpose,
            filter=window.search,
            window_start=window.start,
            api_version=self.client.served_version,
            submitted_at=self.clock.now(),
            shopify_status=created["status"],
        )
        with session_scope(self.factory) as session:
            session.add(operation)
        return operation

    def _start(self, object_type: ObjectType, window: Window) -> dict[str, Any]:
        sort = window.field.upper()
        document = _DOCUMENTS[object_type, self.purpose]
        version = self.client.api_version
        with session_scope(self.factory) as session:
            without = left_out(session.get_one(Shop, self.shop_id).access_scopes)
        query = bulk_query(document, window.search, sort=sort, version=version, without=without)
        answer = self.client.execute(load("bulk_operation_run"), {"query": query})
        result = answer["bulkOperationRunQuery"]
        errors = result["userErrors"]
        if not errors:
            created: dict[str, Any] = result["bulkOperation"]
            return created
        said = "; ".join(error["message"] for error in errors)
        if any(error["code"] in NO_SLOT for error in errors):
            raise NoSlotError(said)
        if "access denied" in said.lower():
            raise AccessDeniedError(f"Shopify refuses the export: {said}")
        raise PermanentError(f"Shopify refuses the bulk operation: {said}")

    def foreign_count(self) -> int:
        """How many slots are held by operations that are not ours."""
        answer = self.client.execute(load("bulk_operations"))
        holding = {node["id"] for name in ("running", "created") for node in answer[name]["nodes"]}
        with session_scope(self.factory) as session:
            ours = session.scalars(
                select(BulkOperation.operation_id).where(
                    BulkOperation.shop_id == self.shop_id, BulkOperation.operation_id.in_(holding)
                )
            )
            return len(holding - set(ours))

    def read(self, operation: BulkOperation) -> dict[str, Any] | None:
        """What Shopify says of the operation; None when it does not know it (any more)."""
        answer = self.client.execute(load("bulk_operation"), {"id": operation.operation_id})
        state: dict[str, Any] | None = answer["bulkOperation"]
        return state

    def judge(
        self, operation: BulkOperation, state: dict[str, Any] | None
    ) -> Finished | Failed | None:
        """What has become of the operation; None while Shopify is at work on it.

        Raises OperationLostError or AccessDeniedError; then it is remembered as failed.
        """
        if state is None:
            self.fail(operation, status=None, code=None)
            raise OperationLostError("Shopify does not know the bulk operation any more.")
        if state["status"] in IN_WORK:
            return None
        if state["status"] == "COMPLETED":
            return self._finished(operation, state)
        if state["errorCode"] == "ACCESS_DENIED":
            self.fail(operation, status=state["status"], code=state["errorCode"])
            raise AccessDeniedError(ACCESS_DENIED)
        if state["status"] == "FAILED":
            return Failed(
                code=state["errorCode"] or "FAILED",
                partial_url=state["partialDataUrl"],
                object_count=int(state["objectCount"]),
                created_at=datetime.fromisoformat(state["createdAt"]),
            )
        # CANCELED or EXPIRED. A cancelled one may have a url all the same: never read.
        self.fail(operation, status=state["status"], code=state["errorCode"])
        raise OperationLostError(f"Shopify ended the bulk operation: {state['status']}.")

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

    def renew(self, operation: BulkOperation) -> str:
        """A fresh address of the file. Raises OperationLostError when there is none."""
        state = self.read(operation)
        url = _address(state)
        if url is None:
            self.fail(operation, status=state["status"] if state else None, code=None)
            raise OperationLostError("Shopify has removed the file of the bulk operation.")
        return url

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

    def announced(self, operations: list[BulkOperation]) -> set[str]:
        """Of these, the ids of which a webhook has told that they have ended."""
        with session_scope(self.factory) as session:
            return set(
                session.scalars(
                    select(BulkOperation.operation_id).where(
                        BulkOperation.shop_id == self.shop_id,
                        BulkOperation.operation_id.in_([each.operation_id for each in operations]),
                        BulkOperation.announced_at.is_not(None),
                    )
                )
            )

    def is_old(self, operation: BulkOperation) -> bool:
        """Whether the shop has moved on since the operation read it."""
        return self.clock.now() - operation.submitted_at > OLD_AFTER


def _address(state: dict[str, Any] | None) -> str | None:
    """Of the file of a completed operation, or of what a failed one had got done."""
    if state is None:
        return None
    if state["status"] == "COMPLETED":
        return str(state["url"]) if state["url"] else None
    if state["status"] == "FAILED":
        return str(state["partialDataUrl"]) if state["partialDataUrl"] else None
    return None


def mark_loaded(
    session: Session,
    operation: BulkOperation,
    outcome: Finished | Failed,
    *,
    lines_read: int,
    at: datetime,
) -> None:
    """In the transaction that loads the file."""
    values: dict[str, Any] = (
        {
            "state": BulkState.LOADED,
            "shopify_status": "COMPLETED",
            "file_size": outcome.file_size,
        }
        if isinstance(outcome, Finished)
        else {
            "state": BulkState.PARTIAL,
            "shopify_status": "FAILED",
            "error_code": outcome.code,
        }
    )
    session.execute(
        update(BulkOperation)
        .where(
            BulkOperation.shop_id == operation.shop_id,
            BulkOperation.operation_id == operation.operation_id,
        )
        .values(object_count=outcome.object_count, lines_read=lines_read, finished_at=at, **values)
    )
