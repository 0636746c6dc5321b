"""COPY into several tables over one connection, while the caller decodes what comes next.

One, because behind a pooler an open transaction holds one of few connections: a load that held
one for each of its tables could wait for ever for the next.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from core.ingestion.copy_text import copy_statement
from core.ingestion.rows import Columns

if TYPE_CHECKING:
    from psycopg import Connection

Connect = Callable[[], "Connection[Any]"]

# Bytes of one table that go in one COPY. Beginning and ending it costs as much as a few rows.
TOGETHER: Final = 256 * 2**10
WAITING: Final = 2


class Copies:
    """Use `copying`. A thread has the connection; what it meets is raised by the next call."""

    def __init__(self, connection: "Connection[Any]", columns: Mapping[str, Columns]) -> None:
        self._connection = connection
        self._columns = columns
        self._texts: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(WAITING)
        self._error: Exception | None = None
        self._is_given_up = False
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def write(self, table: str, text: bytes) -> None:
        """Rows for the table, sooner or later."""
        self._texts.setdefault(table, []).append(text)
        self._sizes[table] = self._sizes.get(table, 0) + len(text)
        if self._sizes[table] >= TOGETHER:
            self._hand(table)

    def commit(self) -> None:
        for table in list(self._texts):
            self._hand(table)
        self._end()
        self._connection.commit()

    def give_up(self) -> None:
        """What is on its way is forgotten."""
        self._is_given_up = True
        self._end()

    def _hand(self, table: str) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put((table, b"".join(self._texts.pop(table))))
        self._sizes[table] = 0

    def _end(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        if self._error is not None and not self._is_given_up:
            raise self._error

    def _copy(self) -> None:
        """Takes everything, also after an error, so that nobody waits to hand it more."""
        while (given := self._waiting.get()) is not None:
            if self._error is None and not self._is_given_up:
                try:
                    self._copy_into(*given)
                except Exception as error:  # noqa: BLE001 - raised again where rows are handed in
                    self._error = error

    def _copy_into(self, table: str, text: bytes) -> None:
        statement = copy_statement(table, self._columns[table]).encode()
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(text)


@contextmanager
def copying(connect: Connect, columns: Mapping[str, Columns]) -> Iterator[Copies]:
    """Rows for the tables in `columns`. Committed at the end, not at all when anything raises."""
    connection = connect()
    try:
        copies = Copies(connection, columns)
        try:
            yield copies
            copies.commit()
        except BaseException:
            copies.give_up()
            raise
    finally:
        connection.close()
