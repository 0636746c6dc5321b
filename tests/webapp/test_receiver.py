"""The receiver of webhooks in front of the application, spoken to in raw ASGI."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server

from core.clock import MovableClock
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.ingestion.keys import RELOAD_SECONDS, KnownShops
from core.models import Shop
from core.secrets import SecretBox
from core.settings import Settings
from tests.webapp.conftest import SECRET, make_shop
from tests.webapp.test_webhooks import order, signed
from webapp import receiver as module
from webapp.app import create_app
from webapp.receiver import LARGEST_GROUP, SMALL_BYTES, WebhookReceiver

APPLIED = (200, {"state": "applied"})
REFUSED = (401, {"state": None})
AGAIN = (503, {"state": None})
CLOSED_PORT = "postgresql+psycopg://nobody:x@127.0.0.1:9/nothing"
Answer = tuple[int, Any]


@dataclass
class Sent:
    """One request of a webhook."""

    body: bytes
    headers: dict[str, str]
    method: str = "POST"
    path: str = module.PATH
    is_announced: bool = True


class Door:
    """A receiver in front of an application that only notes what it is handed."""

    def __init__(self, app: FastAPI) -> None:
        self.now = 1000.0
        self.app = app
        self.runner = asyncio.Runner()  # one loop, as a process has
        self.passed_on: list[str] = []
        self.receiver = WebhookReceiver(self._inside)
        self.receiver._shops = KnownShops(monotonic=lambda: self.now)

    async def _inside(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.passed_on.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"null"})

    async def take(self, sent: Sent) -> Answer | None:
        """None: nothing was answered."""
        named = dict(sent.headers)
        if sent.is_announced:
            named["content-length"] = str(len(sent.body))
        half = len(sent.body) // 2
        told = [
            {"type": "http.request", "body": sent.body[:half], "more_body": True},
            {"type": "http.request", "body": sent.body[half:], "more_body": False},
        ]
        return await self.speak(sent, named, told)

    async def speak(
        self, sent: Sent, named: dict[str, str], told: Sequence[dict[str, Any]]
    ) -> Answer | None:
        headers = [(key.encode(), value.encode()) for key, value in named.items()]
        scope = {
            "type": "http",
            "method": sent.method,
            "path": sent.path,
            "headers": headers,
            "app": self.app,
        }
        messages, answered = iter(told), []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            answered.append(message)

        await self.receiver(scope, receive, send)
        if not answered:
            return None
        start, body = answered
        return start["status"], json.loads(body["body"])

    def send(self, *sent: Sent) -> list[Answer | None]:
        """All at once."""

        async def all_of_them() -> list[Answer | None]:
            return await asyncio.gather(*(self.take(one) for one in sent))

        return self.runner.run(all_of_them())


def told(number: int = 1, *, secret: str = SECRET, **changes: Any) -> Sent:
    """A signed order of a customer of its own."""
    customer = order()["customer"] | {
        "id": 1000 + number,
        "admin_graphql_api_id": f"gid://shopify/Customer/{1000 + number}",
    }
    own = {"id": number, "admin_graphql_api_id": f"gid://shopify/Order/{number}"}
    body = json.dumps(order(**own, customer=customer, **changes)).encode()
    return Sent(body, signed(body, secret=secret, webhook_id=f"w{number}"))


@pytest.fixture
def door(app: FastAPI, shop: Shop) -> Iterator[Door]:
    del shop  # is there
    door = Door(app)
    with door.runner:
        yield door
    app.state.services.close()


@pytest.fixture
def stored(session_factory: SessionFactory) -> Callable[[], list[tuple[Any, ...]]]:
    """(webhook id, state) of what is in the inbox."""

    def ask() -> list[tuple[Any, ...]]:
        with session_scope(session_factory) as session:
            found = session.execute(
                text("SELECT webhook_id, state FROM raw_shopify.webhook_inbox ORDER BY 1")
            )
            return [tuple(row) for row in found]

    return ask


Stored = Callable[[], list[tuple[Any, ...]]]


@pytest.mark.requirement("SHOP-04")
def test_what_comes_at_one_time_is_committed_in_groups_and_answered_one_by_one(
    door: Door, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    take = module._take

    def count(services: Any, letters: Any) -> Any:
        while not sizes and len(lane.waiting) < 141 - len(letters):
            time.sleep(0.01)  # until all have come
        sizes.append(len(letters))
        return take(services, letters)

    monkeypatch.setattr(module, "_take", count)
    lane = door.receiver._lanes[1, False]
    broken = Sent(b"{", signed(b"{", webhook_id="broken"))
    answers = door.send(*(told(number) for number in range(1, 141)), broken)
    assert answers == [APPLIED] * 140 + [(200, {"state": "failed"})]
    assert len(stored()) == 141
    assert sum(sizes) == 141
    assert max(sizes) == LARGEST_GROUP


@pytest.mark.requirement("SHOP-04")
def test_a_busy_shop_leaves_the_thread_to_others_after_each_group(
    app: FastAPI, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lanes than threads: who has many waiting does not take the thread for as long."""
    monkeypatch.setattr(module, "COMMITS_AT_ONCE", 1)
    taken: list[str] = []
    take = module._take

    def note(services: Any, letters: Any) -> Any:
        while not taken and not (len(busy.waiting) == 5 and other.waiting):
            time.sleep(0.01)  # until all have come
        taken.append(letters[0].topic)
        return take(services, letters)

    monkeypatch.setattr(module, "_take", note)
    door = Door(app)
    busy, other = (door.receiver._lanes[shop.shop_id, alone] for alone in (False, True))
    gone = b'{"id": 77}'
    deletion = Sent(gone, signed(gone, webhook_id="gone") | {"x-shopify-topic": "orders/delete"})
    with door.runner:
        answers = door.send(*(told(number) for number in range(1, 7)), deletion)
    app.state.services.close()
    assert answers == [APPLIED] * 7
    assert taken[:3] == ["orders/create", "orders/delete", "orders/create"]


def test_senders_that_wait_for_their_answers_settle_in_two_groups_of_one_size() -> None:
    """Groups of 29 and 3 took turns for ever: neither side worked while the other did."""
    waiting, before = 3, 29
    for _ in range(4):
        size = module._size(waiting, before=before)
        waiting, before = waiting - size + before, size  # those answered send again
    assert (size, waiting) == (16, 16)
    assert module._size(1, before=0) == 1
    assert module._size(1000, before=0) == LARGEST_GROUP


@pytest.mark.requirement("SHOP-04")
def test_a_connection_that_was_cut_costs_nobody_an_answer(
    door: Door, stored: Stored, session_factory: SessionFactory
) -> None:
    """The receiver's connections are not asked whether they live: a round trip per group."""
    assert door.send(told(1)) == [APPLIED]
    with session_scope(session_factory) as session:
        cut = session.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'ecomcrm webhooks' AND datname = current_database()"
            )
        )
        assert cut.scalars().all() == [True]
    assert door.send(told(2)) == [APPLIED]
    assert stored() == [("w1", "applied"), ("w2", "applied")]


@pytest.mark.requirement("SHOP-05")
def test_one_delivery_at_two_processes_at_once_is_one(
    settings: Settings, shop: Shop, clock: MovableClock, stored: Stored, door: Door
) -> None:
    other = Door(create_app(settings, clock=clock))
    sent = [told(number) for number in range(1, 41)]

    async def both() -> list[Answer | None]:
        one = [door.take(each) for each in sent]
        backwards = [other.take(each) for each in reversed(sent)]
        return await asyncio.gather(*one, *backwards, *(door.take(each) for each in sent))

    answers = door.runner.run(both())
    other.app.state.services.close()
    assert {answer[0] for answer in answers if answer} == {200}
    assert len(answers) == 120
    assert stored() == sorted((f"w{number}", "applied") for number in range(1, 41))


@pytest.mark.requirement("SHOP-04")
def test_a_new_secret_counts_at_once_and_the_old_one_no_longer(
    door: Door, shop: Shop, settings: Settings, session_factory: SessionFactory
) -> None:
    assert door.send(told(1)) == [APPLIED]
    with session_scope(session_factory) as session:
        held = session.get_one(Shop, shop.shop_id)
        held.client_secret_encrypted = SecretBox(settings.secret_key).encrypt("rotated")
    door.now += RELOAD_SECONDS
    assert door.send(told(2, secret="rotated")) == [APPLIED]
    assert door.send(told(3)) == [REFUSED]


@pytest.mark.requirement("SHOP-04")
def test_a_shop_connected_a_moment_ago_is_known(
    door: Door, settings: Settings, session_factory: SessionFactory
) -> None:
    new = told(1)
    new.headers["x-shopify-shop-domain"] = "Elm.myshopify.com"
    assert door.send(new) == [REFUSED]
    with session_scope(session_factory) as session:
        make_shop(session, settings, domain="elm.myshopify.com")
    door.now += RELOAD_SECONDS
    body = json.dumps(order(order_status_url="")).encode()
    headers = signed(body) | {"x-shopify-shop-domain": "Elm.myshopify.com"}
    [answer] = door.send(Sent(body, headers))
    assert answer is not None
    assert answer[0] == 200


@pytest.mark.requirement("SHOP-04")
def test_what_nobody_signed_is_refused_and_costs_one_look_a_second(
    door: Door, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    load = module._load

    def count(services: Any, domain: str) -> Any:
        looks.append(domain)
        return load(services, domain)

    monkeypatch.setattr(module, "_load", count)
    unsigned = Sent(told().body, {"x-shopify-topic": "orders/create"})
    changed = replace(told(), body=told().body + b" ")
    forged = [told(number, secret="guessed") for number in range(20)]
    assert door.send(*forged, changed, unsigned) == [REFUSED] * 22
    assert sorted(looks) == ["", "birch.myshopify.com"]
    door.now += RELOAD_SECONDS
    assert door.send(*forged) == [REFUSED] * 20
    assert sorted(looks) == ["", *["birch.myshopify.com"] * 2]
    assert stored() == []


@pytest.mark.requirement("SHOP-04")
def test_large_bodies_and_everything_else_go_the_ordinary_way(door: Door) -> None:
    small = told()
    large = replace(small, body=small.body.ljust(SMALL_BYTES + 1))
    sent = [
        large,
        replace(small, is_announced=False),
        replace(small, method="GET"),
        replace(small, path="/webhooks/resend"),
    ]
    assert door.send(*sent) == [(299, None)] * 4
    assert sorted(door.passed_on) == [
        "GET /webhooks/shopify",
        "POST /webhooks/resend",
        "POST /webhooks/shopify",
        "POST /webhooks/shopify",
    ]
    just = small.body.ljust(SMALL_BYTES)
    assert door.send(Sent(just, signed(just))) == [APPLIED]


@pytest.mark.requirement("SHOP-04")
def test_half_a_body_whose_sender_has_gone_is_nothing(door: Door, stored: Stored) -> None:
    sent = told()
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": sent.body[:100], "more_body": True},
        {"type": "http.disconnect"},
    ]
    named = sent.headers | {"content-length": str(len(sent.body))}
    assert door.runner.run(door.speak(sent, named, messages)) is None
    assert stored() == []


@pytest.mark.requirement("SHOP-04")
def test_while_the_database_is_down_shopify_is_asked_to_come_again(
    door: Door, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    services = door.app.state.services
    down = make_session_factory(make_engine(CLOSED_PORT))
    door.app.state.services = replace(services, session_factory=down, webhook_sessions=down)
    assert door.send(told(1), told(2)) == [AGAIN] * 2  # the shop is not known yet
    door.app.state.services = services
    door.now += RELOAD_SECONDS
    assert door.send(told(3)) == [APPLIED]
    door.app.state.services = replace(services, session_factory=down, webhook_sessions=down)
    assert door.send(told(1), told(2)) == [AGAIN] * 2  # nothing can be stored
    door.app.state.services = services
    assert door.send(told(1), told(2)) == [APPLIED] * 2
    assert stored() == [("w1", "applied"), ("w2", "applied"), ("w3", "applied")]
    assert "grace@example.com" not in caplog.text


@pytest.mark.requirement("SHOP-04")
def test_a_bug_while_a_group_is_taken_answers_and_the_next_group_is_taken(
    door: Door, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_services: Any, _letters: Any) -> Any:
        raise LookupError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(module, "_take", fail)
        assert door.send(told(1), told(2)) == [AGAIN] * 2
    assert door.send(told(1), told(2)) == [APPLIED] * 2
    assert stored() == [("w1", "applied"), ("w2", "applied")]


@pytest.mark.requirement("SHOP-04")
def test_who_waits_while_the_process_ends_is_answered_after_the_commit(
    app: FastAPI, shop: Shop, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, ending = threading.Event(), threading.Event()
    take = module._take

    def wait(services: Any, letters: Any) -> Any:
        taking.set()
        assert ending.wait(30)
        return take(services, letters)

    monkeypatch.setattr(module, "_take", wait)
    server = Server(Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        address = server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address, timeout=30) as connection:
            sent = told()
            named = sent.headers | {"host": "x", "content-length": str(len(sent.body))}
            head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
            request = f"POST {module.PATH} HTTP/1.1\r\n{head}\r\n".encode() + sent.body
            connection.sendall(request)
            assert taking.wait(30)
            server.should_exit = True
            ending.set()
            answer = connection.recv(65536)
    finally:
        server.should_exit = True
        ending.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert stored() == [("w1", "applied")]
