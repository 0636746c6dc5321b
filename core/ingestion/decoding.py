"""A block of a bulk file's lines as COPY text, table by table.

Plain lines go the quick way (core/ingestion/plain.py). All others are decoded by type; of those,
the ones that cannot be stored are rejected with the reason. While a shop has erased somebody, every
line is decoded by type, because each must be asked whose it is.

Knows nothing of files, connections or processes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import msgspec

from core.ingestion import plain_lines
from core.ingestion.copy_text import copy_line
from core.ingestion.plain import Plain, lines_of
from core.ingestion.rows import (
    CHECKOUT_COLUMNS,
    CHECKOUT_LINE_COLUMNS,
    CUSTOMER_COLUMNS,
    LINE_COLUMNS,
    ORDER_COLUMNS,
    PRODUCT_COLUMNS,
    REFUND_COLUMNS,
    VERSION_COLUMNS,
    Columns,
    Row,
    checkout_line_row,
    checkout_row,
    customer_row,
    line_row,
    moment_text,
    order_row,
    product_row,
    refund_rows,
)
from core.shopify import gid
from core.shopify.shapes import (
    Checkout,
    CheckoutLine,
    Customer,
    Head,
    Order,
    OrderLine,
    Product,
    Version,
)

if TYPE_CHECKING:  # at run time they would bring SQLAlchemy into every helper process
    from core.ingestion.screen import Screen

Reject = Callable[[int, bytes, str], None]
Rows = Iterable[tuple["Table", Row]]
JOINED_BY: Final = frozenset(  # what statements join staged rows by
    {"customer_id", "order_id", "line_id", "refund_id", "checkout_id", "checkout_key"}
    | {"product_id", "object_id"}
)
UNREADABLE: Final = (ValueError, RecursionError)  # msgspec's errors are ValueErrors

_customer = msgspec.json.Decoder(Customer).decode
_order = msgspec.json.Decoder(Order).decode
_line = msgspec.json.Decoder(OrderLine).decode
_checkout = msgspec.json.Decoder(Checkout).decode
_checkout_line = msgspec.json.Decoder(CheckoutLine).decode
_product = msgspec.json.Decoder(Product).decode
_version = msgspec.json.Decoder(Version).decode
_head = msgspec.json.Decoder(Head).decode


@dataclass(frozen=True, eq=False)
class Table:
    """A staging table: its rows' columns, and after them the line's number in the file.
    `is_counted`: its rows are among the counts of a sync, under its name.
    """

    name: str
    declared: Columns
    is_counted: bool = True

    @cached_property
    def columns(self) -> Columns:
        return (*self.declared, ("line_number", "bigint"))

    @property
    def key(self) -> str:
        """The column of the object's number."""
        return next(name for name, kind in self.declared if kind == "bigint")

    @property
    def joined_by(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.declared if name in JOINED_BY)


@dataclass(frozen=True, eq=False)
class Kind:
    """One type of line: its main table, and how a line of it is read by type."""

    name: str
    table: Table
    read: "Callable[[bytes, Screen | None], Rows]"


@dataclass(frozen=True, eq=False)
class Format:
    """What may stand in one file: the type asked for first, then its children's. `plain`: how its
    plain lines are read, with a table for each of `tables`.
    """

    kinds: tuple[Kind, ...]
    more_tables: tuple[Table, ...] = ()
    plain: Plain | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        return (*(kind.table for kind in self.kinds), *self.more_tables)

    def kind_of(self, line: bytes) -> Kind:
        """By the type in the line's id. Raises ValueError."""
        head = _head(line).id
        name = head.removeprefix(gid.PREFIX).partition("/")[0]
        for kind in self.kinds:
            if kind.name == name and head.startswith(gid.PREFIX):
                return kind
        raise ValueError(f"not the id of one of the file's types: {head[:80]!r}")


@dataclass
class Block:
    """COPY text by table, and how many rows of each are in it. `lines`: that it was made from."""

    lines: int = 0
    text: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, table: str, text: bytes, count: int) -> None:
        self.text[table] = self.text.get(table, b"") + text
        self.counts[table] = self.counts.get(table, 0) + count


@dataclass(frozen=True)
class Decoder:
    """Reads the blocks of one file."""

    format: Format
    screen: "Screen | None"
    reject: Reject

    def block(self, content: bytes, first_number: int) -> Block:
        """Of whole lines; the last one's newline may be missing."""
        block = Block()
        if self.screen is None and self.format.plain:
            found, others, block.lines = self.format.plain.rows(content, first_number)
            for table, (text, count) in zip(self.format.tables, found, strict=False):
                if count:
                    block.add(table.name, text, count)
        else:
            lines = lines_of(content)
            others, block.lines = list(enumerate(lines, first_number)), len(lines)
        if others:
            self._others(others, block)
        return block

    def _others(self, lines: list[tuple[int, bytes]], block: Block) -> None:
        rows: dict[Table, list[bytes]] = defaultdict(list)
        for number, line in lines:
            self._typed(line, number, rows)
        for table, more in rows.items():
            block.add(table.name, b"".join(more), len(more))

    def _typed(self, line: bytes, number: int, rows: dict[Table, list[bytes]]) -> None:
        try:
            line.decode()  # msgspec does not look into what we did not select
            found = self.format.kind_of(line).read(line, self.screen)
            made = [(table, copy_line((*row, str(number)))) for table, row in found]
        except UNREADABLE as error:
            self.reject(number, line, str(error))
            return
        for table, text in made:
            rows[table].append(text)


CUSTOMERS: Final = Table("customers", CUSTOMER_COLUMNS)
ORDERS: Final = Table("orders", ORDER_COLUMNS)
LINES: Final = Table("order_lines", LINE_COLUMNS)
REFUNDS: Final = Table("refunds", REFUND_COLUMNS, is_counted=False)
CHECKOUTS: Final = Table("checkouts", CHECKOUT_COLUMNS)
CHECKOUT_LINES: Final = Table("checkout_lines", CHECKOUT_LINE_COLUMNS, is_counted=False)
PRODUCTS: Final = Table("products", PRODUCT_COLUMNS)
VERSIONS: Final = Table("ids", VERSION_COLUMNS, is_counted=False)


def _read_customer(line: bytes, screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    customer = _customer(line)
    address = customer.default_email_address
    email = address.email_address if address else None
    if not (screen and _is_erased(screen, customer.id, email)):
        yield CUSTOMERS, customer_row(customer)


def _read_order(line: bytes, screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    order = _order(line)
    buyer_id = order.customer.id if order.customer else None
    if screen and _is_erased(screen, buyer_id, order.email):
        order.customer = order.email = None
    yield ORDERS, order_row(order)
    for row in refund_rows(order):
        yield REFUNDS, row


def _read_line(line: bytes, _screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    item = _line(line)
    if item.parent_id is None:
        raise ValueError("a line item without `__parentId`")
    yield LINES, line_row(item, gid.number(item.parent_id, "Order"))


def _read_checkout(line: bytes, screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    """The address of a checkout is its customer's, so both go together."""
    checkout = _checkout(line)
    if screen and (buyer := checkout.customer):
        contact = buyer.default_email_address
        if _is_erased(screen, buyer.id, contact.email_address if contact else None):
            checkout.customer = None
    yield CHECKOUTS, checkout_row(checkout)


def _read_checkout_line(line: bytes, _screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    item = _checkout_line(line)
    if item.parent_id is None:
        raise ValueError("a line of a checkout without `__parentId`")
    yield CHECKOUT_LINES, checkout_line_row(item, gid.number(item.parent_id, "AbandonedCheckout"))


def _read_product(line: bytes, _screen: "Screen | None") -> Iterator[tuple[Table, Row]]:
    yield PRODUCTS, product_row(_product(line))


def _read_version(
    line: bytes, _screen: "Screen | None", *, kind: str
) -> Iterator[tuple[Table, Row]]:
    version = _version(line)
    yield VERSIONS, (str(gid.number(version.id, kind)), moment_text(version.updated_at))


def _is_erased(screen: "Screen", customer_id: str | None, email: str | None) -> bool:
    """Whether the shop has erased this person, by number or by address. Raises ValueError."""
    if customer_id and screen.is_erased_customer(gid.number(customer_id, "Customer")):
        return True
    return screen.is_erased_email(email)


_FORMATS: Final = {
    "Customer": Format((Kind("Customer", CUSTOMERS, _read_customer),), plain=plain_lines.CUSTOMERS),
    "Order": Format(
        (Kind("Order", ORDERS, _read_order), Kind("LineItem", LINES, _read_line)),
        (REFUNDS,),
        plain=plain_lines.ORDERS,
    ),
    "AbandonedCheckout": Format(
        (
            Kind("AbandonedCheckout", CHECKOUTS, _read_checkout),
            Kind("AbandonedCheckoutLineItem", CHECKOUT_LINES, _read_checkout_line),
        )
    ),
    "Product": Format((Kind("Product", PRODUCTS, _read_product),), plain=plain_lines.PRODUCTS),
}


def format_of(object_type: str, purpose: str) -> Format:
    """By the values of ObjectType and BulkPurpose."""
    if purpose == "load":
        return _FORMATS[object_type]
    kind = str(object_type)
    versions = Kind(kind, VERSIONS, partial(_read_version, kind=kind))
    return Format((versions,), plain=plain_lines.versions_of(kind))
