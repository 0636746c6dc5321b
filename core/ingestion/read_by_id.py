"""Objects read from Shopify by id: one answer per object, none of which fails the others."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from core.errors import EcomCRMError
from core.ingestion.rows import Row, customer_row, line_row, order_row, product_row, refund_rows
from core.models.enums import ObjectType
from core.shopify import gid
from core.shopify.client import ShopifyClient
from core.shopify.documents import NOTHING, load
from core.shopify.errors import QueryTooDearError
from core.shopify.shapes import Customer, OrderWithLines, Product

log = logging.getLogger(__name__)

# A customer or product costs 3 points, an order with room for 50 lines about 40; a query may cost
# 1000.
CALL_SIZE: Final = {ObjectType.CUSTOMER: 250, ObjectType.ORDER: 20, ObjectType.PRODUCT: 250}
_DOCUMENTS: Final = {
    ObjectType.CUSTOMER: "customers_by_id",
    ObjectType.ORDER: "orders_by_id",
    ObjectType.PRODUCT: "products_by_id",
}


@dataclass(frozen=True)
class Found:
    """A row for core/ingestion/customers.py, orders.py or products.py, with all lines and refunds
    of an order.
    """

    row: Row
    updated_at: datetime
    lines: list[Row] = field(default_factory=list)
    refunds: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class NotFound:
    """Why there is no object. `is_about_it` False: Shopify could not be asked at all, which says
    nothing of the object. `is_null`: Shopify was asked and has none, or not yet.
    """

    words: str
    is_about_it: bool = True
    is_null: bool = False


Answer = Found | NotFound
AskMore = Callable[[dict[str, Any]], dict[str, Any]]  # orders by id, with these variables


def read_by_id(
    client_of: Callable[[], ShopifyClient],
    kind: ObjectType,
    numbers: Sequence[int],
    *,
    without: frozenset[str] = NOTHING,
) -> list[Answer]:
    """The objects in the order asked for; splits what is too much for one call.

    What needs a scope of `without` is not asked for.
    """
    size = CALL_SIZE[kind]
    parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return [answer for part in parts for answer in _read(client_of, kind, part, without)]


def _read(
    client_of: Callable[[], ShopifyClient],
    kind: ObjectType,
    numbers: Sequence[int],
    without: frozenset[str],
) -> list[Answer]:
    ids = [gid.make(kind.value, number) for number in numbers]
    try:
        client = client_of()
        document = load(_DOCUMENTS[kind], client.api_version, without)
        nodes = client.execute(document, {"ids": ids})["nodes"]
    except QueryTooDearError:
        if len(numbers) == 1:
            return [NotFound("Shopify finds the query for this one object too dear.")]
        middle = len(numbers) // 2
        first = _read(client_of, kind, numbers[:middle], without)
        return first + _read(client_of, kind, numbers[middle:], without)
    except EcomCRMError as error:
        log.warning("Refreshes that have to wait: %d. %s", len(numbers), error)
        return [NotFound(str(error), is_about_it=False)] * len(numbers)
    more = partial(client.execute, load("orders_by_id", client.api_version, without))
    return [_answer(kind, node, more) for node in nodes]


def _answer(kind: ObjectType, node: Any, more: AskMore) -> Answer:
    if node is None:
        return NotFound("Shopify does not show this object (yet).", is_null=True)
    try:
        if kind is ObjectType.CUSTOMER:
            customer = msgspec.convert(node, Customer)
            return Found(customer_row(customer), customer.updated_at)
        if kind is ObjectType.PRODUCT:
            product = msgspec.convert(node, Product)
            return Found(product_row(product), product.updated_at)
        return _order(msgspec.convert(node, OrderWithLines), more)
    except ValueError as error:
        return NotFound(f"Shopify's answer cannot be used: {error}")
    except EcomCRMError as error:
        return NotFound(str(error), is_about_it=False)


def _order(order: OrderWithLines, ask_more: AskMore) -> Answer:
    """With all its lines, page after page; a long order is never cut."""
    lines, page = list(order.line_items.nodes), order.line_items.page_info
    while page.has_next_page:
        variables = {"ids": [order.id], "after": page.end_cursor}
        [node] = ask_more(variables)["nodes"]
        more = msgspec.convert(node, OrderWithLines) if node else None
        if more is None or more.updated_at != order.updated_at:
            return NotFound("The order changed while its lines were read.")
        if more.line_items.page_info.end_cursor == page.end_cursor:
            return NotFound("Shopify gave the same page of its lines twice.")
        lines += more.line_items.nodes
        page = more.line_items.page_info
    number = gid.number(order.id, "Order")
    rows = [line_row(line, number) for line in lines]
    return Found(order_row(order), order.updated_at, rows, refund_rows(order))
