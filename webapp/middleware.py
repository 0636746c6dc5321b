"""Around every request: an id, a limit on its body, headers that keep browsers strict, a log
line, and an answer even when the code behind it breaks.

Plain ASGI, because the response of a crash and of a refused body need the same headers, and
because the webhook path should not pay for more.
"""

import logging
import secrets
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from anyio import move_on_after
from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.shopify.webhooks import MAX_BODY
from webapp import logs
from webapp.errors import crash_response

MAX_FORM_BYTES: Final = 64 * 1024
MAX_DRAINED: Final = 64 * 1024 * 1024
DRAIN_SECONDS: Final = 5

# Asked for every few seconds by tabs and monitors; logged at DEBUG while all is well.
_ROUTINE: Final = frozenset({"/static", "/overview/{part}", "/healthz", "/readyz"})

_log = logging.getLogger("webapp.access")


class BodyTooLargeError(HTTPException):
    """More bytes than this address takes."""

    def __init__(self) -> None:
        super().__init__(413, "This request is larger than accepted here.")


class RequestContext:
    """Wraps the application; `is_https` adds HSTS."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {}).update(request_id=identifier, nonce=nonce)
        token = logs.request_id.set(identifier)
        body = _Body(scope, receive)
        answer = _Answer(send, body, {"x-request-id": identifier} | self._headers(nonce))
        started = time.perf_counter()
        try:
            await self._app(scope, body.receive, answer.send)
        except Exception:  # noqa: BLE001 - the outermost edge: whatever broke, the caller gets an answer
            _log.exception("unhandled error in %s %s", scope["method"], _route(scope))
            if not answer.has_started:
                await crash_response(Request(scope))(scope, receive, answer.send)
        finally:
            _log_answer(scope, answer.status, seconds=time.perf_counter() - started)
            logs.request_id.reset(token)

    def _headers(self, nonce: str) -> dict[str, str]:
        headers = {"content-security-policy": content_policy(nonce)} | _STRICT
        if self._is_https:
            headers["strict-transport-security"] = "max-age=31536000"
        return headers


class _Answer:
    """Passes messages on, adding our headers to the first."""

    def __init__(self, send: Send, body: "_Body", headers: dict[str, str]) -> None:
        self._send = send
        self._body = body
        self._headers = headers
        self.status = 500
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
            await self._body.drain()
        await self._send(message)


_STRICT: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def content_policy(nonce: str, *, images: Iterable[str] = (), own_style: bool = False) -> str:
    """Only our own files; scripts only with this answer's nonce; htmx alone writes to the page.

    `images`: addresses a page shows beside ours. `own_style`: it brings a style with the nonce.
    """
    shown = "".join(f" {image}" for image in images)
    style = f" 'nonce-{nonce}'" if own_style else ""
    return (
        "default-src 'none'; "
        f"script-src 'nonce-{nonce}'; "
        f"style-src 'self'{style}; img-src 'self' data:{shown}; "
        "font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types htmx"
    )


class _Body:
    """Hands on a body up to its limit; `receive` raises BodyTooLargeError as soon as it is passed,
    announced or not.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._limit = MAX_BODY if scope["path"].startswith("/webhooks/") else MAX_FORM_BYTES
        announced = Headers(scope=scope).get("content-length", "")
        self._is_refused = announced.isdigit() and int(announced) > self._limit
        self._received = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_refused:
            raise BodyTooLargeError
        message = await self._next()
        self._is_refused = self._received > self._limit
        if self._is_refused:
            raise BodyTooLargeError
        return message

    async def drain(self) -> None:
        """Read and drop the rest of a refused body, within reason: a client that is still sending
        when the connection closes sees a reset instead of the answer.
        """
        if not self._is_refused:
            return
        with move_on_after(DRAIN_SECONDS):
            while not self._is_complete and self._received < MAX_DRAINED:
                await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message


def _route(scope: Scope) -> str:
    route = scope.get("route")
    if route is not None:
        return str(getattr(route, "path", "-"))
    return "/static" if scope["path"].startswith("/static/") else "(no route)"


def _log_answer(scope: Scope, status: int, *, seconds: float) -> None:
    route = _route(scope)
    is_routine = status < HTTPStatus.BAD_REQUEST and route in _ROUTINE
    level = logging.DEBUG if is_routine else logging.INFO
    _log.log(level, "%s %s %d %.1f ms", scope["method"], route, status, seconds * 1000)
