"""Shopify's webhooks, in front of everything else the web app does (decision 14).

Plain ASGI, because thousands may come in a second. What comes while one group of a shop is being
committed is collected and committed as the next, and answered after that. Large bodies, and those
whose size is not announced, go the ordinary way (webapp/routes/webhooks.py), one by one; so do the
few that delete or merge, in a lane of their own: no neighbour waits for them.
"""

import asyncio
import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import Final

from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Receive, Scope, Send

from core.database import session_scope
from core.errors import PermanentError
from core.ingestion import keys
from core.ingestion.apply import EXCLUSIVE_TOPICS, Incoming
from core.ingestion.calls import Group
from core.ingestion.groups import AGAIN, Received, receive_group
from core.ingestion.inbox import incoming
from core.ingestion.keys import KnownShop, KnownShops
from core.ingestion.taking import read_ahead
from core.shopify.webhooks import Delivery, read_raw_headers
from webapp.services import Services

PATH: Final = "/webhooks/shopify"
SMALL_BYTES: Final = 64 * 1024
LARGEST_GROUP: Final = 64
# Groups that are being committed at once, of all shops; each holds a connection.
COMMITS_AT_ONCE: Final = 4

_log = logging.getLogger("webapp.access")
_JSON: Final = (b"content-type", b"application/json")
_UNAUTHORIZED: Final = Received(HTTPStatus.UNAUTHORIZED)


_Waiting = tuple[Incoming, "asyncio.Future[Received]"]


@dataclass
class _Lane:
    """Webhooks of one shop that wait for the next commit. `is_worked`: a thread takes them."""

    waiting: list[_Waiting] = field(default_factory=list)
    services: Services | None = None
    is_worked: bool = False
    lock: Lock = field(default_factory=Lock)


class WebhookReceiver:
    """Before the application and all its middleware, whose `scope["app"]` it needs; takes small
    POSTs to PATH and passes everything else on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._shops = KnownShops()
        self._loading = asyncio.Lock()
        self._lanes: dict[tuple[int, bool], _Lane] = defaultdict(_Lane)
        self._worked = 0  # lanes with a thread or waiting for one
        self._threads = ThreadPoolExecutor(COMMITS_AT_ONCE, thread_name_prefix="webhooks")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_webhook(scope) or not _is_small(scope):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        services: Services = scope["app"].state.services
        answer = await self._answer(services, read_raw_headers(scope["headers"], body), body)
        await _send(send, answer)

    async def _answer(self, services: Services, delivery: Delivery, body: bytes) -> Received:
        try:
            shop = await self._signer(services, delivery, body)
        except (DBAPIError, PermanentError) as error:
            _log.error("A webhook was refused: %s", _words(error))
            return AGAIN
        if shop is None:
            return _UNAUTHORIZED
        letter = incoming(shop, delivery, body)
        read_ahead(letter)
        lane = self._lanes[shop.shop_id, letter.topic in EXCLUSIVE_TOPICS]
        future: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        self._enter(services, lane, (letter, future))
        return await future

    async def _signer(
        self, services: Services, delivery: Delivery, body: bytes
    ) -> KnownShop | None:
        """The shop whose secret signed the body, looked up again before it is refused."""
        shop = self._shops.find(delivery.domain)
        if shop is not None and shop.signed(body, delivery.signature):
            return shop
        async with self._loading:
            if self._shops.may_load(delivery.domain):
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(None, _load, services, delivery.domain)
                self._shops.keep(delivery.domain, found)
        shop = self._shops.find(delivery.domain)
        return shop if shop is not None and shop.signed(body, delivery.signature) else None

    def _enter(self, services: Services, lane: _Lane, told: _Waiting) -> None:
        with lane.lock:
            lane.waiting.append(told)
            lane.services = services
            if lane.is_worked:
                return
            lane.is_worked = True
        self._worked += 1
        self._threads.submit(self._work, lane, asyncio.get_running_loop())

    def _work(self, lane: _Lane, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, one group after the other until none waits. The next begins at once, before
        anybody is answered: the loop may be reading a dozen bodies.
        """
        taken: list[_Waiting] = []
        while True:
            with lane.lock:
                if not lane.waiting or lane.services is None:
                    lane.is_worked = False
                    break
                services = lane.services
                size = _size(len(lane.waiting), before=len(taken))
                taken, lane.waiting = lane.waiting[:size], lane.waiting[size:]
            answers = _answers(services, [letter for letter, _ in taken])
            loop.call_soon_threadsafe(_answer_all, taken, answers)
            if self._worked > COMMITS_AT_ONCE:  # other shops wait for a thread
                self._threads.submit(self._work, lane, loop)
                return
        loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._worked -= 1


def _size(waiting: int, *, before: int) -> int:
    """How many the next group takes: half of those who wait or have just been answered.

    Whoever took all would leave the database idle while the next are read, and this process while
    they are written: 32 senders fell into groups of 29 and 3 in turn, at half the speed.
    """
    return min(LARGEST_GROUP, (waiting + before + 1) // 2)


def _load(services: Services, domain: str) -> KnownShop | None:
    with session_scope(services.session_factory) as session:
        return keys.load(session, domain, services.settings.secret_key)


def _take(services: Services, letters: list[Incoming]) -> list[Received]:
    # All of one lane are of one shop; the latest knows it best.
    shop = letters[-1].shop
    group = Group(services.webhook_sessions, shop, services.settings, services.clock)
    return receive_group(group, letters)


def _answers(services: Services, letters: list[Incoming]) -> list[Received]:
    try:
        return _take(services, letters)
    except Exception:  # noqa: BLE001 - whatever broke, Shopify is asked to come again
        _log.exception("taking %d webhooks failed", len(letters))
        return [AGAIN] * len(letters)


def _answer_all(taken: list[_Waiting], answers: list[Received]) -> None:
    for (_, future), answer in zip(taken, answers, strict=True):
        if not future.done():  # whoever sent it may be gone
            future.set_result(answer)


def is_webhook(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST")


def _is_small(scope: Scope) -> bool:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return bool(length.isdigit()) and len(length) < 6 and int(length) <= SMALL_BYTES  # noqa: PLR2004


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when the sender has gone."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return None if message["type"] == "http.disconnect" else body


async def _send(send: Send, answer: Received) -> None:
    """The state helps whoever reads the vendor's delivery log; Shopify looks only at the status."""
    level = logging.DEBUG if answer.status == HTTPStatus.OK else logging.INFO
    _log.log(level, "POST %s %d", PATH, answer.status)
    body = b'{"state":%s}' % (f'"{answer.state}"'.encode() if answer.state else b"null")
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _words(error: Exception) -> str:
    """Of an error of the database only its class: its parameters may name people."""
    return str(error) if isinstance(error, PermanentError) else type(error).__name__
