"""A relay on loopback whose mails end in the mailbox page: SMTP as a client of today speaks it.

It takes what it is given, in clear and without a login, and refuses the test addresses that bounce.
Nothing is told of deliveries: SMTP has no events.
"""

import asyncio
import email
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any, Final

import orjson
from starlette.concurrency import run_in_threadpool

from sandbox.resend.validation import plain
from sandbox.world import World

LARGEST: Final = 40 * 1024 * 1024
LONGEST_LINE: Final = 4096
SECONDS: Final = 60.0
OFFERS: Final = ("sandbox", "8BITMIME", "SMTPUTF8", f"SIZE {LARGEST}")
_OWN_HEADERS: Final = frozenset(
    {
        *("from", "to", "cc", "subject", "reply-to", "message-id", "date"),
        *("mime-version", "content-type", "content-transfer-encoding"),
    }
)


@asynccontextmanager
async def relaying(world: World, port: int | None) -> AsyncIterator[int | None]:
    """The relay while the sandbox is up; port 0 is any free one, None is no relay."""
    if port is None:
        yield None
        return

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Talk(world, reader, writer).run()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, limit=LARGEST)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class _Talk:
    """One connection."""

    def __init__(
        self, world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._world, self._reader, self._writer = world, reader, writer
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._say("220 sandbox ESMTP")
        while True:
            line = await asyncio.wait_for(self._reader.readline(), SECONDS)
            if not line:
                return
            if len(line) > LONGEST_LINE:
                await self._say("500 5.5.2 line too long")
                continue
            word, _, rest = line.decode(errors="replace").strip().partition(" ")
            if word.upper() == "QUIT":
                await self._say("221 2.0.0 bye")
                return
            await self._say(await self._answer(word.upper(), rest))

    async def _answer(self, word: str, rest: str) -> str:
        if word == "DATA":
            return await self._data()
        simple = {
            "EHLO": "\r\n".join([*(f"250-{each}" for each in OFFERS[:-1]), f"250 {OFFERS[-1]}"]),
            "HELO": "250 sandbox",
            "NOOP": "250 2.0.0 fine",
            "RSET": "250 2.0.0 forgotten",
            "MAIL": "250 2.1.0 fine",
        }
        if word in ("RSET", "MAIL"):
            self._sender, self._recipients = (_path(rest) if word == "MAIL" else None), []
        if word == "RCPT":
            return self._recipient(_path(rest))
        return simple.get(word, "502 5.5.1 not in the sandbox")

    def _recipient(self, address: str) -> str:
        if self._sender is None:
            return "503 5.5.1 MAIL first"
        if address.startswith("bounced") and address.endswith("@resend.dev"):
            return "550 5.1.1 no such user here"
        self._recipients.append(address)
        return "250 2.1.5 fine"

    async def _data(self) -> str:
        if self._sender is None or not self._recipients:
            return "503 5.5.1 MAIL and RCPT first"
        await self._say("354 go on")
        content = await asyncio.wait_for(self._content(), SECONDS)
        sender, recipients = self._sender, self._recipients
        self._sender, self._recipients = None, []
        id_ = await run_in_threadpool(_keep, self._world, sender, recipients, content)
        return f"250 2.0.0 taken as {id_}"

    async def _content(self) -> bytes:
        """Up to the line with the single dot, without the dots that were doubled."""
        lines: list[bytes] = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                raise ConnectionError("cut in the middle of a mail")
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    async def _say(self, words: str) -> None:
        self._writer.write(f"{words}\r\n".encode())
        await self._writer.drain()


def _path(rest: str) -> str:
    """`FROM:<ann@example.com> SIZE=5` -> `ann@example.com`."""
    return rest.partition("<")[2].partition(">")[0]


def _keep(world: World, sender: str, recipients: list[str], content: bytes) -> str:
    """Into the mailbox; returns the mail's id there."""
    message = email.message_from_bytes(content, policy=default)
    id_, now = str(uuid.uuid4()), world.clock.now()
    with world.store.write() as db:
        seq = db.execute(
            """insert into emails (id, accepted_at, endpoint, idempotency_key, sender, subject,
                                   html, text, message_id, body)
               values (?, ?, 'SMTP', null, ?, ?, ?, ?, ?, ?) returning seq""",
            [
                id_,
                now,
                str(message["From"] or sender),
                str(message["Subject"] or ""),
                _part(message, "html"),
                _part(message, "plain"),
                str(message["Message-ID"] or ""),
                orjson.dumps(_kept(message, recipients)),
            ],
        ).fetchone()["seq"]
        for address in dict.fromkeys(plain(each) for each in recipients):
            db.execute(
                "insert into email_recipients (email, address, kind, outcome)"
                " values (?, ?, 'to', 'delivered')",
                [seq, address],
            )
        db.execute(
            "insert into email_events (id, email, type, at, payload)"
            " values (?, ?, 'email.delivered', ?, '{}')",
            [str(uuid.uuid4()), seq, now],
        )
    return id_


def _kept(message: EmailMessage, recipients: list[str]) -> dict[str, Any]:
    headers = {
        name: str(value) for name, value in message.items() if name.lower() not in _OWN_HEADERS
    }
    reply_to = [str(message["Reply-To"])] if message["Reply-To"] else []
    return {
        "to": recipients,
        "cc": [],
        "bcc": [],
        "reply_to": reply_to,
        "headers": headers,
        "tags": [],
    }


def _part(message: EmailMessage, subtype: str) -> str | None:
    part = message.get_body((subtype,))
    return None if part is None else str(part.get_content())
