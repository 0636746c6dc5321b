"""COPY into several tables at once, a connection for each: none of them waits for another."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from core.ingestion.copy_text import copy_statement
from core.ingestion.rows import Columns

if TYPE_CHECKING:
    from psycopg import Connection, Copy

Connect = Callable[[], "Connection[Any]"]


class Copies:
    """Opens a table's COPY with its first row. Use `copying`."""

    def __init__(self, connect: Connect, columns: Mapping[str, Columns]) -> None:
        self._connect = connect
        self._columns = columns
        self._open: dict[str, Copy] = {}
        self._connections: list[Connection[Any]] = []
        self.copies = ExitStack()
        self.connections = ExitStack()

    def write(self, table: str, text: bytes) -> None:
        copy = self._open.get(table)
        if copy is None:
            copy = self._open[table] = self._begin(table)
        copy.write(text)

    def _begin(self, table: str) -> "Copy":
        connection = self._connect()
        self.connections.callback(connection.close)
        self._connections.append(connection)
        statement = copy_statement(table, self._columns[table])
        return self.copies.enter_context(connection.cursor().copy(statement.encode()))

    def commit(self) -> None:
        for connection in self._connections:
            connection.commit()


@contextmanager
def copying(connect: Connect, columns: Mapping[str, Columns]) -> Iterator[Copies]:
    """Rows for the tables in `columns`. Committed at the end, not at all when anything raises."""
    copies = Copies(connect, columns)
    with copies.connections:
        with copies.copies:
            yield copies
        copies.commit()
