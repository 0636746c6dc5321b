"""Is an activation run at work? A Postgres advisory lock says so, not Dagster's run status.

A run whose code server died stays STARTED in Dagster for ever; the lock goes with the connection
that holds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

# Any number that nothing else in this database locks.
LOCK: Final = 71_001

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


@contextmanager
def hold(listen_url: str) -> Iterator[bool]:
    """Hold the lock while the body runs; yields False at once when another run holds it.

    `listen_url` must reach Postgres directly: a transaction-mode pooler would give the lock away
    with the connection.
    """
    url = make_url(listen_url).set(drivername="postgresql")
    with psycopg.connect(
        url.render_as_string(hide_password=False),
        autocommit=True,
        connect_timeout=5,
        keepalives_idle=5,
        # A killed run's backend lets go of the lock within a second, not after its statement.
        options="-c client_connection_check_interval=1000",
    ) as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        alone = bool(row and row[0])
        try:
            yield alone
        finally:
            if alone:
                _let_go(connection)


def _let_go(connection: psycopg.Connection) -> None:
    """Free the lock now: a closed connection's backend frees it only when it notices.

    Meanwhile a sensor would see a run at work that is over. A connection that is lost has let go.
    """
    with suppress(psycopg.OperationalError):
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
