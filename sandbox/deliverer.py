"""The background thread that sends what is in the outbox, and again when it was not taken."""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.outbox import RESEND, RETRY_WAITS, SHOPIFY
from sandbox.store import Store

logger = logging.getLogger(__name__)

WORKERS = 8
TIMEOUT = httpx.Timeout(5.0, connect=1.0)  # Shopify's own: 5 s in all, 1 s to connect
# Shorter than servers keep idle connections (uvicorn: 5 s), or some deliveries would fail for that.
LIMITS = httpx.Limits(max_keepalive_connections=WORKERS, keepalive_expiry=2.0)
LONGEST_SLEEP = 1.0
Signer = Callable[[str, bytes, float], Mapping[str, str]]


class Deliverer:
    """`signers`: per channel (message id, body, now) -> headers, made anew for every attempt."""

    def __init__(
        self, store: Store, faults: Faults, clock: Clock, signers: Mapping[str, Signer]
    ) -> None:
        self._store, self._faults, self._clock, self._signers = store, faults, clock, signers
        self._client = httpx.Client(
            timeout=TIMEOUT, limits=LIMITS, follow_redirects=False, trust_env=False
        )
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="deliver")
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._in_flight: set[int] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """To be called after a commit that enqueued something."""
        self._woken.set()

    def stop(self) -> None:
        """Waits for the attempts under way; what is left is sent after the next start."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            for row in self._due():
                with self._lock:
                    self._in_flight.add(row["num"])
                self._pool.submit(self._attempt, row)
            self._woken.wait(self._pause())

    def _open_channels(self) -> list[str]:
        closed = {
            SHOPIFY: self._faults["webhook_off"],
            RESEND: self._faults["resend_events_off"],
        }
        return [channel for channel, is_closed in closed.items() if not is_closed]

    def _due(self) -> list[sqlite3.Row]:
        channels = self._open_channels()
        with self._lock:
            busy = set(self._in_flight)
        free = WORKERS * 2 - len(busy)
        if not channels or free <= 0:
            return []
        marks = ", ".join("?" * len(channels))
        with self._store.read() as db:
            rows = db.execute(
                f"select * from deliveries where state = 'pending' and next_at <= ?"
                f" and channel in ({marks}) order by next_at, num limit ?",
                [self._clock.now(), *channels, WORKERS * 2 + len(busy)],
            ).fetchall()
        return [row for row in rows if row["num"] not in busy][:free]

    def _pause(self) -> float:
        """Seconds to the next delivery that is not due yet."""
        now = self._clock.now()
        with self._store.read() as db:
            (next_at,) = db.execute(
                "select min(next_at) from deliveries where state = 'pending' and next_at > ?",
                [now],
            ).fetchone()
        return LONGEST_SLEEP if next_at is None else min(LONGEST_SLEEP, next_at - now)

    def _attempt(self, row: sqlite3.Row) -> None:
        try:
            self._send(row)
        except Exception:  # a bug must not end the deliverer: the row stays pending
            logger.exception("delivery %s was not recorded", row["num"])
        finally:
            with self._lock:
                self._in_flight.discard(row["num"])
            self.wake()

    def _send(self, row: sqlite3.Row) -> None:
        is_first = row["channel"] == SHOPIFY and row["attempts"] == 0
        if is_first and self._faults.take("webhook_lose_times"):
            self._lose(row)
            return
        sent_at = self._clock.now()
        signed = self._signers[row["channel"]](row["message_id"], row["body"], sent_at)
        headers = {**json.loads(row["headers"]), **signed}
        status, error = None, None
        try:
            answer = self._client.post(row["url"], content=row["body"], headers=headers)
            status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = f"{type(failure).__name__}: {failure}"
        self._record(row, sent_at, status, error)

    def _lose(self, row: sqlite3.Row) -> None:
        """Some webhooks never come, Shopify says; reconciliation has to find the order."""
        with self._store.write() as db:
            db.execute("update deliveries set state = 'lost' where num = ?", [row["num"]])

    def _record(
        self, row: sqlite3.Row, sent_at: float, status: int | None, error: str | None
    ) -> None:
        taken = status is not None and httpx.codes.is_success(status)
        attempts = row["attempts"] + 1
        waits = RETRY_WAITS[row["channel"]]
        state, next_at = "delivered" if taken else "pending", row["next_at"]
        if not taken and attempts > len(waits):
            state = "failed"
        elif not taken:
            next_at = self._clock.now() + waits[attempts - 1] * self._faults["retry_scale"]
        with self._store.write() as db:
            db.execute(
                """update deliveries set attempts = ?, state = ?, next_at = ?, last_status = ?,
                     last_error = ?, first_sent_at = coalesce(first_sent_at, ?),
                     answered_sent_at = ? where num = ?""",
                [
                    attempts,
                    state,
                    next_at,
                    status,
                    error,
                    sent_at,
                    sent_at if taken else None,
                    row["num"],
                ],
            )
            if state == "failed" and row["subscription"] is not None:
                # Shopify deletes a subscription whose deliveries failed eight times in a row.
                db.execute("delete from subscriptions where num = ?", [row["subscription"]])
        if not taken:
            logger.warning(
                "%s to %s failed (attempt %d, %s): %s",
                row["topic"],
                row["url"],
                attempts,
                state,
                error or f"status {status}",
            )
