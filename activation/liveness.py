"""Is an activation run at work? A Postgres advisory lock says so, not Dagster's run status.

A run whose code server died stays STARTED in Dagster for ever; the lock goes with the connection
that holds it. The same connection LISTENs, so who hears of work is who holds the lock.

Behind a transaction-mode pooler a session is nobody's: there the lock belongs to a transaction that
stays open, nothing is heard, and the run's look once a second serves. Such a transaction has no
snapshot between its statements, so it keeps vacuum from nothing.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

# Any number that nothing else in this database locks.
LOCK: Final = 71_001
CHANNEL: Final = "ecomcrm_work"  # as migration 0018 has it
STOP: Final = "stop"  # what is told there to end the run; anything else says that work has come
LOOK_SECONDS: Final = 1.0  # between two looks whether a silent connection lives

# Returns true while some session holds the lock. Changes nothing; reads the lock table only.
HELD = text("""
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 0 AND objid = :lock AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
""")


def is_run_alive(session: Session) -> bool:
    return bool(session.scalar(HELD, {"lock": LOCK}))


def ask_to_stop(listen_url: str) -> None:
    """Tell the run at work, if there is one, to end after what it is doing."""
    with _connect(listen_url) as connection:
        connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, STOP))


@contextmanager
def hold(listen_url: str) -> Iterator[bool]:
    """Hold the lock while the body runs; yields False at once when another run holds it."""
    line = Line(listen_url)
    try:
        yield line.take()
    finally:
        line.close()


class Line:
    """The connection of the run at work: its lock, and what it is told there.

    `stop` is set when the run is told to end, `heard` when there may be something to do or to end,
    `lost` when the connection broke and the lock with it.
    """

    def __init__(self, listen_url: str, *, stop: Event | None = None) -> None:
        self._url = listen_url
        self.stop = stop or Event()
        self.heard = Event()
        self.lost = Event()
        self._connection: psycopg.Connection[Any] | None = None
        self._thread: Thread | None = None
        self._bell, self._rope = socket.socketpair()
        self._is_closing = False

    @property
    def listens(self) -> bool:
        """Whether work is told here; else it must be looked for."""
        return self._connection is not None and self._connection.autocommit

    def take(self) -> bool:
        """Take the lock, also again after it was lost; False: another run has it.

        Raises psycopg.OperationalError while Postgres cannot be reached.
        """
        self._hang_up()
        connection = _connect(self._url)
        try:
            is_ours = _take(connection)
        except psycopg.Error:
            connection.close()
            raise
        if not is_ours:
            connection.close()
            return False
        self._connection = connection
        self.lost.clear()
        self._thread = Thread(target=self._listen, args=(connection,), daemon=True, name="line")
        self._thread.start()
        return True

    def wait(self, seconds: float) -> None:
        """Until something is heard, at most so long."""
        self.heard.wait(max(0.0, seconds))

    def close(self) -> None:
        """Free the lock now: a closed connection's backend frees it only when it notices.

        Meanwhile a sensor would see a run at work that is over.
        """
        self._hang_up()
        self._bell.close()
        self._rope.close()

    def _hang_up(self) -> None:
        connection, thread = self._connection, self._thread
        self._connection = self._thread = None
        if connection is None or thread is None:
            return
        self._is_closing = True
        self._rope.send(b".")
        thread.join()
        self._bell.recv(64)
        self._is_closing = False
        with suppress(psycopg.Error):  # a connection that is lost has let go
            if connection.autocommit:
                connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
            else:
                connection.rollback()
        connection.close()

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """In a thread of its own: the run hears also while it works."""
        try:
            looked_at = time.monotonic()
            while not self._is_closing:
                if connection.autocommit:
                    self._drain(connection)
                elif time.monotonic() - looked_at >= LOOK_SECONDS:
                    connection.execute("SELECT 1")
                    looked_at = time.monotonic()
                # Waits without psycopg's turns of a tenth of a second each.
                select.select([connection.fileno(), self._bell], [], [], LOOK_SECONDS)
        except (psycopg.Error, OSError, ValueError):
            self.lost.set()
            self.heard.set()

    def _drain(self, connection: psycopg.Connection[Any]) -> None:
        for told in connection.notifies(timeout=0.001):
            if told.payload == STOP:
                self.stop.set()
            self.heard.set()


def _take(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    # A pooler tells its clients a number of its own: whoever answers is then somebody else.
    if row is not None and row[0] == connection.info.backend_pid:
        # A killed run's backend lets go of the lock within a second, not after its statement.
        connection.execute("SET client_connection_check_interval = 1000")
        connection.execute(f"LISTEN {CHANNEL}")
        locked = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    else:
        connection.autocommit = False
        locked = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
    return bool(locked and locked[0])


def _connect(listen_url: str) -> psycopg.Connection[Any]:
    url = make_url(listen_url).set(drivername="postgresql")
    return psycopg.connect(
        url.render_as_string(hide_password=False),
        autocommit=True,
        connect_timeout=5,
        keepalives_idle=5,
        prepare_threshold=None,
        application_name="ecomcrm activation line",
    )
