"""What goes wrong around the workers of a crash run: provider, events, people who leave."""

import base64
import hashlib
import hmac
import itertools
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from activation.events import receive
from activation.provider.resend import ResendProvider
from activation.unsubscribe import Recipient, unsubscribe
from benchmarks.crash_stand_in import WEBHOOK_SECRET
from core.clock import SystemClock
from core.database import SessionFactory, session_scope

FAULT_EVERY: Final = 1.5  # seconds
EVENTS_EVERY: Final = 0.3
TOLD_SHARE: Final = 10  # of the mails, one in so many is told about, each event twice
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "429": {"resend_status": 429, "resend_times": 1},
    "500": {"resend_status": 500, "resend_times": 1},
    "503": {"resend_status": 503, "resend_times": 1},
    "html_502": {"resend_html_502_times": 1},
    "accept_then_502": {"resend_accept_then_502_times": 1},
    "accept_then_drop": {"resend_accept_then_drop_times": 1},
    "accept_then_timeout": {"resend_accept_then_timeout_times": 1},
}

PICK_MESSAGE = text("""
-- Returns a message that has not left: one that is frozen, or one of those that come next. Changes
-- nothing. Index ix_messages__claim.
SELECT message_id
FROM (
    (
        SELECT message_id
        FROM crm.messages
        WHERE shop_id = :shop_id AND state = 'frozen'
        LIMIT 20
    )
    UNION ALL
    (
        SELECT message_id
        FROM crm.messages
        WHERE shop_id = :shop_id AND state = 'queued'
        ORDER BY priority, due_at, message_id
        LIMIT 60
    )
) AS near
ORDER BY random()
LIMIT 1
""")

READ_CLOCK = text("SELECT clock_timestamp()")  # of the database, as the attempts are


class Trouble:
    """Three threads beside the workers. `unsubscribed`: when it was committed, by message."""

    def __init__(
        self,
        factory: SessionFactory,
        shop_id: int,
        address: str,
        store: Path,
        *,
        seed: int,
        faults: Sequence[str],
        leaves_every: float,
    ) -> None:
        self._factory, self._shop_id = factory, shop_id
        self._address, self._store = address, store
        self._random = random.Random(seed)
        self._course = itertools.cycle(faults)
        self._calm, self._over = threading.Event(), threading.Event()
        self._errors: list[BaseException] = []
        self._told = 0
        self.unsubscribed = dict[int, datetime]()
        self.faults: Counter[str] = Counter()
        self.events = 0
        self._threads = [
            threading.Thread(target=self._keep, args=(work, every), daemon=True)
            for work, every in (
                (self._fail, FAULT_EVERY),
                (self._leave, leaves_every),
                (self._tell, EVENTS_EVERY),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)
        if self._errors and error is None:
            raise self._errors[0]

    def calm(self) -> None:
        """No more faults of the provider: what is left may end."""
        self._calm.set()

    def _keep(self, work: Callable[[], None], every: float) -> None:
        while not self._over.wait(every):
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the caller's own thread
                self._errors.append(error)
                return

    def _fail(self) -> None:
        if self._calm.is_set():
            return
        name = next(self._course)
        httpx.post(f"{self._address}/_sandbox/faults", json=FAULTS[name]).raise_for_status()
        self.faults[name] += 1

    def _leave(self) -> None:
        """The page's own function; what it commits counts from an instant after the commit."""
        with session_scope(self._factory) as session:
            picked = session.scalar(PICK_MESSAGE, {"shop_id": self._shop_id})
        if picked is None or picked in self.unsubscribed:
            return
        with session_scope(self._factory) as session:
            unsubscribe(session, Recipient(self._shop_id, picked), now=SystemClock().now())
        with session_scope(self._factory) as session:
            self.unsubscribed[picked] = session.execute(READ_CLOCK).scalar_one()

    def _tell(self) -> None:
        """New events of some mails, each twice, in any order, through the signed door."""
        told = [event for event in self._new_events() for _ in range(2)]
        self._random.shuffle(told)
        provider = ResendProvider(
            api_key=None, base_url=self._address, webhook_secret=SecretStr(WEBHOOK_SECRET)
        )
        with provider:
            for event_id, body in told:
                received = receive(
                    self._factory,
                    headers=_signed(event_id, body),
                    body=body,
                    provider=provider,
                    clock=SystemClock(),
                )
                if received.status != httpx.codes.OK:
                    raise RuntimeError(f"an event was answered with {received.status}")
                self.events += 1

    def _new_events(self) -> list[tuple[str, bytes]]:
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, timeout=30)) as db:
            rows = db.execute(
                "SELECT email, id, payload FROM email_events WHERE email > ? AND email % ? = 0",
                [self._told, TOLD_SHARE],
            ).fetchall()
        self._told = max([self._told, *(email for email, _, _ in rows)])
        return [(event_id, bytes(payload)) for _, event_id, payload in rows]


def _signed(event_id: str, body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": event_id,
        "svix-timestamp": stamp,
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
