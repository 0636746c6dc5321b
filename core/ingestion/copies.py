"""COPY into several tables over one connection.

One, because behind a pooler an open transaction holds one of few connections: a load that held
one for each of its tables could wait for ever for the next. A table's COPY stays open after its
rows were sent, so the server stores them while the caller decodes what comes next; it ends when
another table's turn comes. (A thread that copied meanwhile waited 5 ms for the interpreter at
every step.)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from core.ingestion.copy_text import copy_statement
from core.ingestion.rows import Columns

if TYPE_CHECKING:
    from psycopg import Connection, Copy

Connect = Callable[[], "Connection[Any]"]

# Bytes of one table that are sent at once. Beginning and ending a COPY costs as much as a few rows.
TOGETHER: Final = 2**20


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
        self._texts: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}

    def write(self, table: str, text: bytes) -> None:
        """Rows for the table, sooner or later."""
        self._texts.setdefault(table, []).append(text)
        self._sizes[table] = self._sizes.get(table, 0) + len(text)
        if self._sizes[table] >= TOGETHER:
            self._send(table)

    def finish(self) -> None:
        """Send what is left."""
        for table in list(self._texts):
            self._send(table)

    def _send(self, table: str) -> None:
        if self._table != table or self._copy is None:
            self._stack.close()  # the end of another table's COPY
            statement = copy_statement(table, self._columns[table]).encode()
            cursor = self._connection.cursor()
            self._copy = self._stack.enter_context(cursor.copy(statement))
            self._table = table
        self._copy.write(b"".join(self._texts.pop(table)))
        self._sizes[table] = 0


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
