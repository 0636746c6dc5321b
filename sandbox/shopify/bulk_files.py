"""The results of bulk operations: files under `<state>/bulk/`, behind signed addresses."""

import hashlib
import hmac
import sqlite3
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.world import World, stored_secret

URL_SECONDS = 604_800


class BulkFiles:
    """Signs addresses, and answers them until they expire."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._folder = world.state / "bulk"
        self._folder.mkdir(exist_ok=True)
        self._secret = stored_secret(world.store, "bulk")

    def path(self, num: int) -> Path:
        return self._folder / f"bulk-{num}.jsonl"

    def sweep(self) -> None:
        """Deletes the files that no address leads to any more."""
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

    def url(self, shop: sqlite3.Row, row: sqlite3.Row, base_url: str) -> str:
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
        """The file behind a signed address; no token is asked for, as with Shopify's storage."""
        domain, num = request.path_params["shop"], request.path_params["num"]
        expires = request.query_params.get("Expires", "")
        given = request.query_params.get("Signature", "")
        if not expires.isdigit() or not hmac.compare_digest(
            given.encode(), self._signature(domain, num, int(expires)).encode()
        ):
            return _storage_error(403, "SignatureDoesNotMatch")
        if int(expires) < self._world.clock.now() or self._is_expired(num):
            return _storage_error(400, "ExpiredToken")
        if not self.path(num).exists():
            return _storage_error(404, "NoSuchKey")
        return self._answer()(
            self.path(num), media_type="application/jsonl", filename=f"bulk-{num}.jsonl"
        )

    def _is_expired(self, num: int) -> bool:
        """Whether the address is made to be refused until the operation is polled again."""
        with self._world.store.read() as db:
            row = db.execute(
                "select url_expired from bulk_operations where num = ?", [num]
            ).fetchone()
        if row is None or row["url_expired"]:
            return row is not None
        if not self._world.faults.take("bulk_expire_url_times"):
            return False
        with self._world.store.write() as db:
            db.execute("update bulk_operations set url_expired = 1 where num = ?", [num])
        return True

    def _answer(self) -> "type[_Whole]":
        if self._world.faults.take("bulk_drop_download_times"):
            return _CutShort
        return _Truncated if self._world.faults.take("bulk_truncate_times") else _Whole


def _storage_error(status: int, code: str) -> Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return Response(text, status, media_type="application/xml; charset=UTF-8")


class _Whole(FileResponse):
    chunk_size = 1 << 20


class _CutShort(_Whole):
    """Half of the file, then the line is cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = await run_in_threadpool(Path(self.path).read_bytes)
        await _start(send, len(whole))
        half = whole[: len(whole) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["transport"].close()
        await receive()


class _Truncated(_Whole):
    """Whole lines up to about half of the file, and a length that says so: all seems well."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        whole = await run_in_threadpool(Path(self.path).read_bytes)
        half = whole[: whole.rfind(b"\n", 0, len(whole) // 2) + 1]
        await _start(send, len(half))
        await send({"type": "http.response.body", "body": half})


async def _start(send: Send, length: int) -> None:
    headers = [
        (b"content-type", b"application/jsonl"),
        (b"content-length", str(length).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
