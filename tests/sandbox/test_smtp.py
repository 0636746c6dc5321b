"""The relay of the sandbox, spoken to by the product's own provider."""

import asyncio
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from graphql import GraphQLSchema
from pydantic import SecretStr

from activation.provider import Accepted, RefusalKind, Refused
from activation.provider.smtp import SmtpProvider
from sandbox.app import open_world
from sandbox.config import Config
from sandbox.smtp import relaying
from sandbox.world import World
from tests.activation.provider.test_smtp import LINK, frozen
from tests.sandbox.support import KEY, SECRET, WHSEC


@contextmanager
def relay(world: World) -> Iterator[int]:
    """The relay in a loop of its own, as uvicorn would run it."""
    ports: list[int] = []
    started, stopping = Event(), Event()

    async def run() -> None:
        async with relaying(world, 0) as port:
            assert port is not None
            ports.append(port)
            started.set()
            await asyncio.to_thread(stopping.wait)

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        stopping.set()
        thread.join()


@pytest.fixture
def world(schema: GraphQLSchema, tmp_path: Path) -> Iterator[World]:
    config = Config(
        client_id="cid",
        client_secret=SECRET,
        resend_api_key=KEY,
        resend_webhook_secret=WHSEC,
    )
    world = open_world(config, state=tmp_path, schema=schema, api_version="2026-07")
    yield world
    world.store.close()


def kept(world: World) -> list[dict[str, Any]]:
    with world.store.read() as db:
        return [dict(row) for row in db.execute("select * from emails order by seq")]


def test_a_mail_by_smtp_is_in_the_mailbox_as_it_was_sent(world: World) -> None:
    with relay(world) as port, SmtpProvider(SecretStr(f"smtp://127.0.0.1:{port}")) as provider:
        for address in ("ann@example.com", "\N{LATIN SMALL LETTER A WITH DIAERESIS}@example.com"):
            assert isinstance(provider.send_batch(frozen(to=[address]), "k"), Accepted)
        refused = provider.send_batch(frozen(to=["bounced@resend.dev"]), "k")
        assert isinstance(refused, Refused)
        assert refused.kind is RefusalKind.MAIL
        assert isinstance(provider.send_batch(frozen(), "k"), Accepted)
    mails = kept(world)
    assert [mail["endpoint"] for mail in mails] == ["SMTP"] * 3
    assert mails[0]["subject"] == "Sch\N{LATIN SMALL LETTER O WITH DIAERESIS}n, dass du da bist"
    assert mails[0]["text"].splitlines()[1:] == [".", "Ende"]
    assert "<p>Ende</p>" in mails[0]["html"]
    assert LINK.encode() in mails[0]["body"]


def test_commands_out_of_order_are_refused_and_the_talk_goes_on(world: World) -> None:
    with relay(world) as port, smtplib.SMTP("127.0.0.1", port) as client:
        assert client.docmd("DATA")[0] == 503
        assert client.docmd("RCPT", "TO:<a@example.com>")[0] == 503
        assert client.docmd("EXPN", "list")[0] == 502
        assert client.helo()[0] == client.noop()[0] == 250
    assert kept(world) == []


def test_without_a_port_there_is_no_relay(world: World) -> None:
    async def look() -> int | None:
        async with relaying(world, None) as port:
            return port

    assert asyncio.run(look()) is None
