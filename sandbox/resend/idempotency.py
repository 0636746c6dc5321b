"""`Idempotency-Key`: same endpoint, key and bytes -> same answer, for 24 hours.

Bytes are compared raw and only accepted requests are remembered, the strictest reading of what
Resend leaves undocumented.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.resend.errors import ResendError
from sandbox.store import Store

LIFETIME = 86_400
LONGEST = 256
IN_USE = ResendError(
    409,
    "concurrent_idempotent_requests",
    "Same idempotency key used while original request is still in progress. Try again later.",
)
OTHER_BODY = ResendError(
    409,
    "invalid_idempotent_request",
    "Same idempotency key used with a different request payload.",
)
BAD_KEY = ResendError(400, "invalid_idempotency_key", f"The key must be between 1-{LONGEST} chars.")


class Idempotency:
    """Marks of requests in progress live in memory: after a kill nothing is in progress."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._in_progress: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, endpoint: str, key: str | None) -> Iterator[None]:
        """Holds the key while its request is worked on. Raises ResendError."""
        if key is None:
            yield
            return
        if not 1 <= len(key) <= LONGEST:
            raise BAD_KEY
        with self._lock:
            if (endpoint, key) in self._in_progress:
                raise IN_USE
            self._in_progress.add((endpoint, key))
        try:
            yield
        finally:
            with self._lock:
                self._in_progress.discard((endpoint, key))

    def remembered(
        self, endpoint: str, key: str | None, body: bytes, *, now: float
    ) -> bytes | None:
        """The answer given before, None for a new key. Raises ResendError for other bytes."""
        if key is None:
            return None
        with self._store.read() as db:
            row = db.execute(
                "select body_sha, response from idempotency"
                " where endpoint = ? and key = ? and created_at > ?",
                [endpoint, key, now - LIFETIME],
            ).fetchone()
        if row is None:
            return None
        if row["body_sha"] != _sha(body):
            raise OTHER_BODY
        return bytes(row["response"])


def remember(
    db: sqlite3.Connection, endpoint: str, key: str, body: bytes, response: bytes, *, now: float
) -> None:
    """In the transaction that accepts the mails, so that there is never one without the other."""
    db.execute(
        "insert or replace into idempotency (endpoint, key, body_sha, response, created_at)"
        " values (?, ?, ?, ?, ?)",
        [endpoint, key, _sha(body), response, now],
    )


def _sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
