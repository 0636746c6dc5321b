"""Lines of a bulk file, decoded and copied into the staging tables of the open transaction.

Needs a few MiB whatever the size of the file. A line that cannot be read is put aside with its
number and the reason, and the rest goes on.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy.orm import Session

from core.ingestion.bulk_file import BulkFile
from core.ingestion.rows import (
    CUSTOMER_COLUMNS,
    LINE_COLUMNS,
    ORDER_COLUMNS,
    copy_line,
    copy_statement,
    customer_row,
    line_row,
    order_row,
    staging_table,
)
from core.shopify import gid
from core.shopify.shapes import Customer, Head, Order, OrderLine

if TYPE_CHECKING:
    from psycopg import Cursor

STAGED_LINE_COLUMNS: Final = (*LINE_COLUMNS, ("line_number", "bigint"))
SPOOL_IN_MEMORY: Final = 8 * 2**20
BLOCK: Final = 2**16

_LINE_START: Final = rb'{"id":"gid:\/\/shopify\/LineItem\/'
_ORDER_START: Final = rb'{"id":"gid:\/\/shopify\/Order\/'

_customer = msgspec.json.Decoder(Customer).decode
_order = msgspec.json.Decoder(Order).decode
_line = msgspec.json.Decoder(OrderLine).decode
_head = msgspec.json.Decoder(Head).decode

Reject = Callable[[int, bytes, str], None]
Progress = Callable[[], None]
UNREADABLE: Final = (ValueError, RecursionError)  # msgspec's errors are ValueErrors


@dataclass
class Counts:
    """Objects read so far."""

    customers: int = 0
    orders: int = 0
    order_lines: int = 0


def stage_customers(
    session: Session, file: BulkFile, counts: Counts, *, reject: Reject, progress: Progress
) -> None:
    """Copy the file into `staged_customers`, which this creates."""
    cursor = _cursor(session)
    cursor.execute(staging_table("staged_customers", CUSTOMER_COLUMNS))
    with cursor.copy(copy_statement("staged_customers", CUSTOMER_COLUMNS)) as copy:
        for batch in file.batches():
            block = []
            for number, line in zip(count(file.lines_read + 1), batch, strict=False):
                try:
                    block.append(copy_line(customer_row(_customer(line))))
                except UNREADABLE as error:
                    reject(number, line, str(error))
            copy.write("".join(block))
            counts.customers += len(block)
            progress()


def stage_orders(
    session: Session, file: BulkFile, counts: Counts, *, reject: Reject, progress: Progress
) -> None:
    """Copy the file into `staged_orders` and `staged_lines`, which this creates.

    One connection copies into one table at a time: line items, the bulk of the file, go straight
    through, orders wait in a spool file that nobody else can open.
    """
    cursor = _cursor(session)
    cursor.execute(staging_table("staged_orders", ORDER_COLUMNS))
    cursor.execute(staging_table("staged_lines", STAGED_LINE_COLUMNS))
    with tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY) as spool:
        with cursor.copy(copy_statement("staged_lines", STAGED_LINE_COLUMNS)) as copy:
            for batch in file.batches():
                orders, lines = _decode_batch(batch, file.lines_read + 1, reject)
                spool.write("".join(orders).encode())
                copy.write("".join(lines))
                counts.orders += len(orders)
                counts.order_lines += len(lines)
                progress()
        _copy_spool(cursor, spool)


def _decode_batch(
    batch: list[bytes], first_number: int, reject: Reject
) -> tuple[list[str], list[str]]:
    """COPY text of the orders and of the line items, by the type in each line's id."""
    orders: list[str] = []
    lines: list[str] = []
    for number, line in zip(count(first_number), batch, strict=False):
        try:
            if _is_line_item(line):
                item = _line(line)
                if item.parent_id is None:
                    raise ValueError("a line item without `__parentId`")
                row = line_row(item, gid.number(item.parent_id, "Order"))
                lines.append(copy_line((*row, str(number))))
            else:
                orders.append(copy_line(order_row(_order(line))))
        except UNREADABLE as error:
            reject(number, line, str(error))
    return orders, lines


def _is_line_item(line: bytes) -> bool:
    """By the first bytes, as Shopify writes them; any other spelling is decoded."""
    if line.startswith(_LINE_START):
        return True
    return not line.startswith(_ORDER_START) and gid.parse(_head(line).id)[0] == "LineItem"


def _copy_spool(cursor: "Cursor[Any]", spool: IO[bytes]) -> None:
    spool.seek(0)
    with cursor.copy(copy_statement("staged_orders", ORDER_COLUMNS)) as copy:
        shutil.copyfileobj(spool, copy, BLOCK)


def _cursor(session: Session) -> "Cursor[Any]":
    """The driver's cursor: SQLAlchemy has no COPY."""
    connection = session.connection().connection.driver_connection
    assert connection is not None  # noqa: S101 - the session just connected
    cursor: Cursor[Any] = connection.cursor()
    return cursor
