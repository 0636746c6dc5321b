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
from typing import Final

from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Receive, Scope, Send

from core.database import session_scope
from core.errors import PermanentError
from core.ingestion import keys
from core.ingestion.apply import EXCLUSIVE_TOPICS, Incoming
from core.ingestion.groups import AGAIN, Received, receive_group
from core.ingestion.inbox import incoming
from core.ingestion.keys import KnownShop, KnownShops
from core.ingestion.taking import Group, read_ahead
from core.shopify.webhooks import PREFIX, Delivery, read_headers
from webapp.services import Services

PATH: Final = "/webhooks/shopify"
SMALL_BYTES: Final = 64 * 1024
LARGEST_GROUP: Final = 64
# Groups that are being committed at once, of all shops; each holds a connection.
COMMITS_AT_ONCE: Final = 4

_log = logging.getLogger("webapp.access")
_SHOPIFY: Final = PREFIX.encode()
_JSON: Final = (b"content-type", b"application/json")
_UNAUTHORIZED: Final = Received(HTTPStatus.UNAUTHORIZED)


@dataclass
class _Lane:
    """Webhooks of one shop that wait for the next commit."""

    waiting: list[tuple[Incoming, "asyncio.Future[Received]"]] = field(default_factory=list)
    worker: "asyncio.Task[None] | None" = None


class WebhookReceiver:
    """Wraps the application; takes small POSTs to PATH and passes everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._shops = KnownShops()
        self._loading = asyncio.Lock()
        self._lanes: dict[tuple[int, bool], _Lane] = defaultdict(_Lane)
        self._threads = ThreadPoolExecutor(COMMITS_AT_ONCE, thread_name_prefix="webhooks")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name.startswith(_SHOPIFY) or name == b"content-length"
        }
        if not _is_small(headers):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        services: Services = scope["app"].state.services
        answer = await self._answer(services, read_headers(headers, body), body)
        await _send(send, answer)

    async def _answer(self, services: Services, delivery: Delivery, body: bytes) -> Received:
        try:
            shop = await self._signer(services, delivery, body)
        except (DBAPIError, PermanentError) as error:
            _log.error("A webhook was refused: %s", _words(error))
            return AGAIN
        if shop is None:
            return _UNAUTHORIZED
        letter = read_ahead(incoming(shop, delivery, body))
        lane = self._lanes[shop.shop_id, letter.topic in EXCLUSIVE_TOPICS]
        future: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        lane.waiting.append((letter, future))
        if lane.worker is None:
            lane.worker = asyncio.create_task(self._work(services, lane))
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

    async def _work(self, services: Services, lane: _Lane) -> None:
        """One group after the other, until none waits."""
        loop = asyncio.get_running_loop()
        while lane.waiting:
            taken, lane.waiting = lane.waiting[:LARGEST_GROUP], lane.waiting[LARGEST_GROUP:]
            letters = [letter for letter, _ in taken]
            try:
                answers = await loop.run_in_executor(self._threads, _take, services, letters)
            except Exception:  # noqa: BLE001 - whatever broke, Shopify is asked to come again
                _log.exception("taking %d webhooks failed", len(letters))
                answers = [AGAIN] * len(letters)
            for (_, future), answer in zip(taken, answers, strict=True):
                if not future.done():  # whoever sent it may be gone
                    future.set_result(answer)
        lane.worker = None


def _load(services: Services, domain: str) -> KnownShop | None:
    with session_scope(services.session_factory) as session:
        return keys.load(session, domain, services.settings.secret_key)


def _take(services: Services, letters: list[Incoming]) -> list[Received]:
    # All of one lane are of one shop; the latest knows it best.
    shop = letters[-1].shop
    group = Group(services.session_factory, shop, services.settings, services.clock)
    return receive_group(group, letters)


def _is_small(headers: dict[str, str]) -> bool:
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= SMALL_BYTES  # noqa: PLR2004


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
