"""COPY into several tables over one connection.

One, because behind a pooler an open transaction holds one of few connections: a load that held
one for each of its tables could wait for ever for the next. A table's COPY stays open, and its rows
go a few pieces at a time, so the server stores them while the caller decodes what comes next and
neither waits; it ends when another table's turn comes. (A thread that copied meanwhile waited
5 ms for the interpreter at every step.)
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from core.ingestion.copy_text import copy_statement
from core.ingestion.rows import Columns

if TYPE_CHECKING:
    from psycopg import Connection, Copy

Connect = Callable[[], "Connection[Any]"]

# Bytes of another table that wait for its turn. Beginning and ending a COPY costs as much as a few
# rows, and waits until the server has stored all before.
TOGETHER: Final = 256 * 2**10
PIECES: Final = 2  # sent with each that comes: more than come, so a turn ends


class Copies:
    """Use `copying`."""

    def __init__(
        self, connection: "Connection[Any]", columns: Mapping[str, Columns], stack: ExitStack
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._stack = stack
        self._table: str | None = None
        self._copy: Copy | None = None
        self._waiting: dict[str, deque[bytes]] = {table: deque() for table in columns}
        self._sizes: dict[str, int] = dict.fromkeys(columns, 0)

    def write(self, table: str, text: bytes) -> None:
        """Rows for the table, sooner or later."""
        self._waiting[table].append(text)
        self._sizes[table] += len(text)
        if self._table is not None and self._waiting[self._table]:
            self._send(self._table, PIECES)
        elif self._sizes[table] >= TOGETHER:
            self._send(table, PIECES)

    def finish(self) -> None:
        """Send what is left."""
        for table in sorted(self._waiting, key=lambda table: table != self._table):
            if pieces := len(self._waiting[table]):
                self._send(table, pieces)

    def _send(self, table: str, pieces: int) -> None:
        if self._table != table or self._copy is None:
            self._stack.close()  # the end of another table's COPY
            statement = copy_statement(table, self._columns[table]).encode()
            cursor = self._connection.cursor()
            self._copy = self._stack.enter_context(cursor.copy(statement))
            self._table = table
        waiting = self._waiting[table]
        for _ in range(min(pieces, len(waiting))):
            text = waiting.popleft()
            self._sizes[table] -= len(text)
            self._copy.write(text)


@contextmanager
def copying(connect: Connect, columns: Mapping[str, Columns]) -> Iterator[Copies]:
    """Rows for the tables in `columns`. Committed at the end, not at all when anything raises."""
    connection = connect()
    try:
        with ExitStack() as stack:
            copies = Copies(connection, columns, stack)
            yield copies
            copies.finish()
        connection.commit()
    finally:
        connection.close()
