"""Bulk operations: run, poll, cancel, finish. A job that a kill cut short is run again."""

import dataclasses
import logging
import queue
import sqlite3
import threading
from dataclasses import dataclass
from typing import Any

from sandbox.http import NotInSandboxError
from sandbox.shapes import gid
from sandbox.shopify.bulk_files import URL_SECONDS, BulkFiles
from sandbox.shopify.bulk_query import refusals
from sandbox.shopify.bulk_view import (
    FIRST_STRANGER,
    HOLDS_SLOT,
    MOST_STRANGERS,
    UNFINISHED,
    finished_view,
    new_view,
    stranger_view,
)
from sandbox.shopify.export import Faulty, Written, write_export
from sandbox.shopify.projection import Plan, compile_plan
from sandbox.shopify.rest_shapes import bulk_finish_payload
from sandbox.shopify.roots import ORDERS
from sandbox.shopify.scopes import granted, visible_since
from sandbox.shopify.search import Condition
from sandbox.shopify.webhooks import TOPICS, announce
from sandbox.world import World

logger = logging.getLogger(__name__)

CONCURRENT = 5
HOLD_SECONDS = 0.2
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _End:
    """How an operation ends. `offered`: the file is at `url`, or `partial`, or not to be had."""

    status: str = "COMPLETED"
    error_code: str | None = None
    offered: str | None = None
    is_half: bool = False
    has_data: bool = True


_BROKEN = "INTERNAL_SERVER_ERROR"
_WELL = _End(offered="url")
# Knob -> the end that it brings; the first that is turned counts.
_ENDS = {
    "bulk_fail_times": _End(status="FAILED", error_code=_BROKEN, has_data=False),
    "bulk_partial_times": _End(
        status="FAILED", error_code=_BROKEN, offered="partial", is_half=True
    ),
    "bulk_timeout_times": _End(status="FAILED", error_code="TIMEOUT", has_data=False),
    "bulk_cancel_times": _End(status="CANCELED", offered="url", is_half=True),
    "bulk_expire_times": _End(status="EXPIRED"),
    "bulk_null_url_times": _End(),
}
_DENIED = _End(status="FAILED", error_code="ACCESS_DENIED", has_data=False)


class BulkJobs:
    """One worker thread, which runs the operations one after the other."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = BulkFiles(world)
        self.download = self._files.download
        self._queue: queue.Queue[int | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bulk", daemon=True)

    def start(self) -> None:
        with self._world.store.read() as db:
            left = db.execute(
                "select num from bulk_operations where status in (?, ?, ?) order by num", HOLDS_SLOT
            ).fetchall()
        for (num,) in left:
            self._queue.put(num)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.put(None)
        self._thread.join()

    # ------------------------------------------------------------------ asking for one

    def submit(self, shop: sqlite3.Row, text: str) -> tuple[Body | None, list[Body]]:
        """(the operation just created, user errors). Raises NotInSandboxError."""
        wrong = refusals(self._world.schema, text)
        if wrong:
            return None, [{"field": ["query"], "message": m, "code": "INVALID"} for m in wrong]
        compile_plan(text)
        with self._world.store.write() as db:
            ours = db.execute(
                "select num from bulk_operations where shop = ? and status in (?, ?, ?)"
                " order by num",
                [shop["shop"], *HOLDS_SLOT],
            ).fetchall()
            running = self._strangers() + [num for (num,) in ours]
            if len(running) >= CONCURRENT:
                return None, [_in_progress(running)]
            num = db.execute(
                "insert into bulk_operations (shop, query, status, created_at)"
                " values (?, ?, 'CREATED', ?) returning num",
                [shop["shop"], text, self._world.clock.now()],
            ).fetchone()["num"]
        self._queue.put(num)
        row = self._row(shop, num)
        return (None if row is None else new_view(row)), []

    def cancel(
        self, shop: sqlite3.Row, num: int, *, base_url: str
    ) -> tuple[Body | None, list[Body]]:
        """(the operation, user errors). A slot is free when CANCELING has become CANCELED."""
        if num >= FIRST_STRANGER:
            raise NotInSandboxError("cancelling another process's operation")
        row = self._row(shop, num)
        if row is None:
            return None, [{"field": ["id"], "message": "Bulk operation does not exist"}]
        with self._world.store.write() as db:
            # The polls that look RUNNING are over: it must not go back to that from CANCELING.
            stopped = db.execute(
                "update bulk_operations set status = 'CANCELING', polls = polls + ?"
                " where num = ? and status in (?, ?)",
                [self._world.faults["bulk_running_polls"] + 1, num, *UNFINISHED],
            ).rowcount
        row = self._row(shop, num) or row
        view = self.view(shop, row, base_url=base_url)
        if stopped or row["status"] == "CANCELING":
            return view, []
        word = row["status"].lower()
        message = f"A bulk operation cannot be canceled when it is {word}"
        return view | {"status": row["status"]}, [{"field": None, "message": message}]

    def _row(self, shop: sqlite3.Row, num: int) -> sqlite3.Row | None:
        with self._world.store.read() as db:
            row: sqlite3.Row | None = db.execute(
                "select * from bulk_operations where shop = ? and num = ?", [shop["shop"], num]
            ).fetchone()
            return row

    def _strangers(self) -> list[int]:
        running = min(self._world.faults["bulk_strangers"], MOST_STRANGERS)
        return [FIRST_STRANGER + place for place in range(running)]

    # ------------------------------------------------------------------ looking at it

    def poll(self, shop: sqlite3.Row, num: int, *, base_url: str) -> Body | None:
        """The operation as it shows itself now; each look counts as a poll, and renews its url."""
        if FIRST_STRANGER <= num < FIRST_STRANGER + MOST_STRANGERS:
            return self._stranger(num)
        with self._world.store.write() as db:
            db.execute(
                "update bulk_operations set polls = polls + 1, url_expired = 0"
                " where shop = ? and num = ?",
                [shop["shop"], num],
            )
        row = self._row(shop, num)
        return None if row is None else self.view(shop, row, base_url=base_url)

    def view(self, shop: sqlite3.Row, row: sqlite3.Row, *, base_url: str) -> Body:
        """The fields of BulkOperation; it looks RUNNING for the first few polls at least."""
        looks_new = row["polls"] <= self._world.faults["bulk_running_polls"]
        if row["status"] != "CANCELING" and (row["status"] in UNFINISHED or looks_new):
            return new_view(row) | {"status": "RUNNING" if row["polls"] else "CREATED"}
        return self._true_view(shop, row, base_url=base_url)

    def _true_view(self, shop: sqlite3.Row, row: sqlite3.Row, *, base_url: str) -> Body:
        if row["status"] in HOLDS_SLOT:
            return new_view(row) | {"status": row["status"]}
        is_expired = row["completed_at"] + URL_SECONDS < self._world.clock.now()
        return finished_view(row, self._files.url(shop, row, base_url), is_expired=is_expired)

    def list(self, shop: sqlite3.Row, *, base_url: str) -> list[Body]:
        """All operations of the app, strangers among them, as they are, polled or not.

        One that ended and was never polled holds no slot, and must not look as if it did.
        """
        with self._world.store.read() as db:
            rows = db.execute(
                "select * from bulk_operations where shop = ? order by num", [shop["shop"]]
            ).fetchall()
        ours = [self._true_view(shop, row, base_url=base_url) for row in rows]
        return [self._stranger(num) for num in self._strangers()] + ours

    def _stranger(self, num: int) -> Body:
        running = self._world.faults["bulk_strangers"]
        return stranger_view(num, running=running, now=self._world.clock.now())

    # ------------------------------------------------------------------ doing it

    def _run(self) -> None:
        while (num := self._queue.get()) is not None:
            while self._world.faults["bulk_hold"] and not self._stopping.wait(HOLD_SECONDS):
                pass
            if self._stopping.is_set():
                return
            try:
                self._work(num)
            except Exception:  # one job's bug fails that job and must not end the worker
                logger.exception("bulk operation %d failed", num)
                self._finish(num, _ENDS["bulk_fail_times"], None)

    def _work(self, num: int) -> None:
        self._files.sweep()
        with self._world.store.write() as db:
            db.execute(
                "update bulk_operations set status = 'RUNNING' where num = ? and status in (?, ?)",
                [num, *UNFINISHED],
            )
            row = db.execute("select * from bulk_operations where num = ?", [num]).fetchone()
        if row is None:
            return  # the shop was replaced meanwhile
        if row["status"] == "CANCELING":
            self._finish(num, _WELL, None)
            return
        scopes = granted(self._world.faults)
        plan = self._visible(compile_plan(row["query"]), scopes)
        end = self._end() if plan.scopes <= set(scopes) else _DENIED
        self._finish(num, end, self._write(row, plan, end) if end.has_data else None)

    def _end(self) -> _End:
        for knob, end in _ENDS.items():
            if self._world.faults.take(knob):
                return end
        return _WELL

    def _visible(self, plan: Plan, scopes: tuple[str, ...]) -> Plan:
        """The plan over what the app may see of the orders."""
        if plan.root is not ORDERS:
            return plan
        oldest = visible_since(scopes, now=self._world.clock.now())
        since = Condition("t.created_at >= ?", (oldest,))
        return dataclasses.replace(plan, condition=plan.condition.also(since))

    def _write(self, row: sqlite3.Row, plan: Plan, end: _End) -> Written:
        faults = self._world.faults
        faulty = Faulty(
            malformed=faults["bulk_malformed_lines"],
            corrupt=faults["bulk_corrupt_lines"],
            is_half=end.is_half,
        )
        order = faults["bulk_line_order"]
        path = self._files.path(row["num"])
        with self._world.store.snapshot() as db:
            return write_export(db, row["shop"], plan, path, line_order=order, faulty=faulty)

    def _finish(self, num: int, end: _End, written: Written | None) -> None:
        """Keeps the end and tells it; who was cancelled meanwhile ends so, with what there is."""
        world, now = self._world, self._world.clock.now()
        written = written or Written(0, 0, 0)
        with world.store.write() as db:
            row = db.execute(
                """update bulk_operations set
                     status = case when status = 'CANCELING' then 'CANCELED' else ? end,
                     error_code = case when status = 'CANCELING' then null else ? end,
                     completed_at = ?, object_count = ?, root_object_count = ?, file_size = ?,
                     offered = ? where num = ? returning *""",
                [
                    end.status,
                    end.error_code,
                    now,
                    written.lines,
                    written.roots,
                    written.size or None,
                    end.offered if written.lines else None,
                    num,
                ],
            ).fetchone()
            if row is None:
                return
            self._tell(db, row, now)
        world.deliverer.wake()

    def _tell(self, db: sqlite3.Connection, row: sqlite3.Row, now: float) -> None:
        shop = db.execute("select * from shops where shop = ?", [row["shop"]]).fetchone()
        finished = finished_view(row, "", is_expired=False)
        if finished["status"] == "EXPIRED":
            finished["status"] = "COMPLETED"  # as which it ended, before anybody looked
        announce(
            db,
            shop,
            TOPICS["BULK_OPERATIONS_FINISH"],
            bulk_finish_payload(finished, zone=shop["time_zone"]),
            version=self._world.api_version,
            now=now,
        )


def _in_progress(nums: list[int]) -> Body:
    ids = ", ".join(gid("BulkOperation", num) for num in nums)
    return {
        "field": None,
        "message": "A bulk query operation for this app and shop is already in progress: " + ids,
        "code": "OPERATION_IN_PROGRESS",
    }
