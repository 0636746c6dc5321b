"""Bulk operations: run, poll, finish, download. A job that a kill cut short is run again."""

import hashlib
import hmac
import logging
import queue
import sqlite3
import threading
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.clock import utc_z
from sandbox.shapes import gid
from sandbox.shopify.bulk_query import refusals
from sandbox.shopify.export import Faulty, Written, write_export
from sandbox.shopify.projection import compile_plan
from sandbox.shopify.rest_shapes import bulk_finish_payload
from sandbox.shopify.webhooks import TOPICS, announce
from sandbox.world import World, stored_secret

logger = logging.getLogger(__name__)

CONCURRENT = 5
URL_SECONDS = 604_800
HOLD_SECONDS = 0.2
UNFINISHED = ("CREATED", "RUNNING")
Body = dict[str, Any]


class BulkJobs:
    """One worker thread; files live under `<state>/bulk/`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._folder = world.state / "bulk"
        self._folder.mkdir(exist_ok=True)
        self._secret = stored_secret(world.store, "bulk")
        self._queue: queue.Queue[int | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bulk", daemon=True)

    def start(self) -> None:
        with self._world.store.read() as db:
            left = db.execute(
                "select num from bulk_operations where status in (?, ?) order by num", UNFINISHED
            ).fetchall()
        for (num,) in left:
            self._queue.put(num)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.put(None)
        self._thread.join()

    def _sweep(self) -> None:
        """Deletes the files that no url leads to any more."""
        oldest = self._world.clock.now() - URL_SECONDS
        with self._world.store.read() as db:
            rows = db.execute(
                "select num from bulk_operations where completed_at is null or completed_at > ?",
                [oldest],
            ).fetchall()
        wanted = {self.path(num) for (num,) in rows}
        for path in self._folder.glob("bulk-*.jsonl"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    def path(self, num: int) -> Path:
        return self._folder / f"bulk-{num}.jsonl"

    # ------------------------------------------------------------------ asking for one

    def submit(self, shop: sqlite3.Row, text: str) -> tuple[Body | None, list[Body]]:
        """(the operation just created, user errors). Raises NotInSandboxError."""
        wrong = refusals(self._world.schema, text)
        if wrong:
            return None, [{"field": ["query"], "message": m, "code": "INVALID"} for m in wrong]
        compile_plan(text)
        with self._world.store.write() as db:
            running = db.execute(
                "select num from bulk_operations where shop = ? and status in (?, ?) order by num",
                [shop["shop"], *UNFINISHED],
            ).fetchall()
            if len(running) >= CONCURRENT:
                return None, [_in_progress([num for (num,) in running])]
            num = db.execute(
                "insert into bulk_operations (shop, query, status, created_at)"
                " values (?, ?, 'CREATED', ?) returning num",
                [shop["shop"], text, self._world.clock.now()],
            ).fetchone()["num"]
        self._queue.put(num)
        row = self._row(shop, num)
        return (None if row is None else _new(row)), []

    def _row(self, shop: sqlite3.Row, num: int) -> sqlite3.Row | None:
        with self._world.store.read() as db:
            row: sqlite3.Row | None = db.execute(
                "select * from bulk_operations where shop = ? and num = ?", [shop["shop"], num]
            ).fetchone()
            return row

    # ------------------------------------------------------------------ looking at it

    def poll(self, shop: sqlite3.Row, num: int, *, base_url: str) -> Body | None:
        """The operation as it shows itself now; each look counts as a poll."""
        with self._world.store.write() as db:
            db.execute(
                "update bulk_operations set polls = polls + 1 where shop = ? and num = ?",
                [shop["shop"], num],
            )
        row = self._row(shop, num)
        return None if row is None else self.view(shop, row, base_url=base_url)

    def view(self, shop: sqlite3.Row, row: sqlite3.Row, *, base_url: str) -> Body:
        """The fields of BulkOperation; it looks RUNNING for the first few polls at least."""
        if row["status"] in UNFINISHED or row["polls"] <= self._world.faults["bulk_running_polls"]:
            return _new(row) | {"status": "RUNNING" if row["polls"] else "CREATED"}
        has_file = row["status"] == "COMPLETED" and row["object_count"] > 0
        return _new(row) | {
            "status": row["status"],
            "errorCode": row["error_code"],
            "completedAt": utc_z(row["completed_at"]),
            "objectCount": str(row["object_count"]),
            "rootObjectCount": str(row["root_object_count"]),
            "fileSize": str(row["file_size"]) if has_file else None,
            "url": self._url(shop, row, base_url) if has_file else None,
        }

    def list(self, shop: sqlite3.Row, *, base_url: str) -> list[Body]:
        with self._world.store.read() as db:
            rows = db.execute(
                "select * from bulk_operations where shop = ? order by num", [shop["shop"]]
            ).fetchall()
        return [self.view(shop, row, base_url=base_url) for row in rows]

    def _url(self, shop: sqlite3.Row, row: sqlite3.Row, base_url: str) -> str:
        expires = int(row["completed_at"]) + URL_SECONDS
        signature = self._signature(shop["domain"], row["num"], expires)
        return (
            f"{base_url}/shopify/{shop['domain']}/bulk/{row['num']}.jsonl"
            f"?Expires={expires}&Signature={signature}"
        )

    def _signature(self, domain: str, num: int, expires: int) -> str:
        text = f"{domain}/{num}/{expires}".encode()
        return hmac.digest(self._secret.encode(), text, hashlib.sha256).hex()

    def download(self, request: Request) -> Response:
        """The file behind a signed url; no token is asked for, as with Shopify's storage."""
        domain, num = request.path_params["shop"], request.path_params["num"]
        expires = request.query_params.get("Expires", "")
        given = request.query_params.get("Signature", "")
        if not expires.isdigit() or not hmac.compare_digest(
            given.encode(), self._signature(domain, num, int(expires)).encode()
        ):
            return _storage_error(403, "SignatureDoesNotMatch")
        if int(expires) < self._world.clock.now():
            return _storage_error(400, "ExpiredToken")
        if not self.path(num).exists():
            return _storage_error(404, "NoSuchKey")
        kind = _CutShort if self._world.faults.take("bulk_drop_download_times") else _Whole
        return kind(self.path(num), media_type="application/jsonl", filename=f"bulk-{num}.jsonl")

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
                self._finish(num, "FAILED", error_code="INTERNAL_SERVER_ERROR", written=None)

    def _work(self, num: int) -> None:
        world = self._world
        self._sweep()
        with world.store.write() as db:
            db.execute("update bulk_operations set status = 'RUNNING' where num = ?", [num])
            row = db.execute("select * from bulk_operations where num = ?", [num]).fetchone()
        if row is None:
            return  # the shop was replaced meanwhile
        if world.faults.take("bulk_fail_times"):
            self._finish(num, "FAILED", error_code="INTERNAL_SERVER_ERROR", written=None)
            return
        with world.store.snapshot() as db:
            written = write_export(
                db,
                row["shop"],
                compile_plan(row["query"]),
                self.path(num),
                line_order=world.faults["bulk_line_order"],
                faulty=Faulty(
                    malformed=world.faults["bulk_malformed_lines"],
                    corrupt=world.faults["bulk_corrupt_lines"],
                ),
            )
        self._finish(num, "COMPLETED", error_code=None, written=written)

    def _finish(
        self, num: int, status: str, *, error_code: str | None, written: Written | None
    ) -> None:
        world, now = self._world, self._world.clock.now()
        with world.store.write() as db:
            row = db.execute(
                """update bulk_operations set status = ?, error_code = ?, completed_at = ?,
                   object_count = ?, root_object_count = ?, file_size = ? where num = ?
                   returning *""",
                [
                    status,
                    error_code,
                    now,
                    written.lines if written else 0,
                    written.roots if written else 0,
                    written.size if written else None,
                    num,
                ],
            ).fetchone()
            if row is None:
                return
            shop = db.execute("select * from shops where shop = ?", [row["shop"]]).fetchone()
            finished = _new(row) | {
                "status": status,
                "errorCode": error_code,
                "completedAt": utc_z(now),
            }
            announce(
                db,
                shop,
                TOPICS["BULK_OPERATIONS_FINISH"],
                bulk_finish_payload(finished, zone=shop["time_zone"]),
                version=world.api_version,
                now=now,
            )
        world.deliverer.wake()


def _new(row: sqlite3.Row) -> Body:
    """The operation as it is answered while nothing is known of its result."""
    return {
        "__typename": "BulkOperation",
        "id": gid("BulkOperation", row["num"]),
        "status": "CREATED",
        "type": "QUERY",
        "errorCode": None,
        "createdAt": utc_z(row["created_at"]),
        "completedAt": None,
        "objectCount": "0",
        "rootObjectCount": "0",
        "fileSize": None,
        "url": None,
        "partialDataUrl": None,
        "query": row["query"],
    }


def _in_progress(nums: list[int]) -> Body:
    ids = ", ".join(gid("BulkOperation", num) for num in nums)
    return {
        "field": None,
        "message": "A bulk query operation for this app and shop is already in progress: " + ids,
        "code": "OPERATION_IN_PROGRESS",
    }


def _storage_error(status: int, code: str) -> Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return Response(text, status, media_type="application/xml; charset=UTF-8")


class _Whole(FileResponse):
    chunk_size = 1 << 20


class _CutShort(_Whole):
    """Half of the file, then the line is cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = await run_in_threadpool(Path(self.path).read_bytes)
        half = whole[: len(whole) // 2]
        headers = [
            (b"content-type", b"application/jsonl"),
            (b"content-length", str(len(whole)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["transport"].close()
        await receive()
