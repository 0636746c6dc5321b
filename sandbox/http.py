"""What every stand-in shares: calls, answers, and ways to break a connection."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the transport in the scope so that a fault can cut the line."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, read to its end. Header names are lower case."""

    method: str
    path: str
    params: Mapping[str, Any]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str


class NotInSandboxError(Exception):
    """Asked for something real that the sandbox does not stand in for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not in the sandbox: {what}")


class BadRequestError(Exception):
    """A control call that cannot be understood; the text says why."""


def reply(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`data` as compact JSON."""
    return Response(orjson.dumps(data), status, dict(headers or {}), media_type="application/json")


class Dropped(Response):
    """Cuts the connection without a byte, after `delay` seconds."""

    def __init__(self, *, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        if self.delay:
            await asyncio.sleep(self.delay)
        scope["state"]["transport"].abort()
        await receive()  # until uvicorn has seen the cut: else it would try to answer 500


Endpoint = Callable[[Request], Awaitable[Response]]


def threaded(handler: Callable[[Call], Response]) -> Endpoint:
    """An endpoint that reads the body, then runs `handler` in a worker thread."""

    async def endpoint(request: Request) -> Response:
        call = Call(
            method=request.method,
            path=request.url.path,
            params=request.path_params,
            query=request.query_params,
            headers=request.headers,
            body=await request.body(),
            base_url=str(request.base_url).rstrip("/"),
        )
        return await run_in_threadpool(handler, call)

    return endpoint


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, {} for an empty one. Raises BadRequestError otherwise."""
    if not body:
        return {}
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRequestError("the body must be a JSON object")
    return data
