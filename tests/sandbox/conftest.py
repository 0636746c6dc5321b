"""A real sandbox under uvicorn on a free port, a small shop, and a receiver for its webhooks."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from graphql import GraphQLSchema

from sandbox.app import build_app, open_world
from sandbox.clock import Clock
from sandbox.config import Config
from sandbox.serve import server_config
from sandbox.shopify.schema import load_schema
from sandbox.shopify.webhooks import TOPICS
from tests.sandbox.support import (
    KEY,
    SECRET,
    WHSEC,
    Received,
    Receiver,
    Running,
    wait_for,
    write_folder,
)


@pytest.fixture(scope="session")
def schema(shopify_schema_path: Path) -> GraphQLSchema:
    return load_schema(shopify_schema_path)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.answers.pop(0) if receiver.answers else 200
            receiver.received.append(Received(self.path, headers, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running(
    schema: GraphQLSchema,
    receiver: Receiver,
    state: Path,
    *,
    clock: Clock | None = None,
    compliance: bool = False,
) -> Iterator[Running]:
    config = Config(
        client_id="cid",
        client_secret=SECRET,
        resend_api_key=KEY,
        resend_webhook_secret=WHSEC,
        resend_webhook_url=f"{receiver.url}/resend",
        compliance_url=f"{receiver.url}/compliance" if compliance else None,
    )
    world = open_world(config, state=state, schema=schema, api_version="2026-07", clock=clock)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(server_config(build_app(world), host="127.0.0.1", port=port))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    wait_for(lambda: server.started)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            yield Running(url, world, client, receiver)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def start(schema: GraphQLSchema, receiver: Receiver, tmp_path: Path) -> Callable[..., Any]:
    """Starts a sandbox: `with start() as sandbox`, `with start(clock=…) as sandbox`."""

    def begin(
        *, clock: Clock | None = None, compliance: bool = False
    ) -> AbstractContextManager[Running]:
        return running(schema, receiver, tmp_path / "state", clock=clock, compliance=compliance)

    return begin


@pytest.fixture
def sandbox(start: Callable[..., Any]) -> Iterator[Running]:
    with start() as sandbox:
        yield sandbox


@pytest.fixture
def shop(sandbox: Running, folder: Path) -> Running:
    """The sandbox with the shop of `folder` loaded."""
    assert sandbox.load(folder).status_code == 201
    return sandbox


@pytest.fixture(scope="session")
def quiet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("quiet") / "shop")


@pytest.fixture(scope="session")
def quiet_shop(schema: GraphQLSchema, quiet_folder: Path) -> Iterator[Running]:
    """One shop for all tests that only look, or are refused: nothing may be changed in it."""
    state = quiet_folder.parent / "state"
    with receiving() as receiver, running(schema, receiver, state) as sandbox:
        assert sandbox.load(quiet_folder).status_code == 201
        sandbox.fault(resend_rate_per_second=1000)
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five customers and twelve orders of three line items each, all from before June 2026."""
    return write_folder(tmp_path / "shop")


@pytest.fixture
def all_topics(start: Callable[..., Any], folder: Any) -> Iterator[Running]:
    """A shop whose every topic is subscribed, and an app that takes the compliance topics."""
    with start(compliance=True) as sandbox:
        assert sandbox.load(folder).status_code == 201
        for topic in TOPICS:
            sandbox.subscribe(topic)
        yield sandbox
