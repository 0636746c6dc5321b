"""The lists that a bulk operation can read: their tables, fields, search keys and sort keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox import shapes
from sandbox.shapes import Shape
from sandbox.shopify.search import Keys
from sandbox.totals import ALL_COUNTED, with_totals

TIMES = {"updated_at": "t.updated_at", "created_at": "t.created_at"}
NUMBERS = {"id": "t.num"}
SORTS = {"CREATED_AT": "t.created_at", "ID": "t.num"}
UPDATED = {"UPDATED_AT": "t.updated_at"}
PROCESSED_KEY = {"processed_at": "t.processed_at"}
RECOVERY = {"recovered": "t.completed_at is not null", "not_recovered": "t.completed_at is null"}

Row = tuple[Any, ...]
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Children:
    """The connection in a root's node whose nodes become lines with `__parentId`."""

    field: str
    table: str
    type_name: str
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class RootList:
    """`select` gives num, body and what `whole` makes the body complete with, from the table `t`;
    the body keeps the order of its shape.

    The select's first bind values are as many times the shop as `binds` says.
    """

    table: str
    type_name: str
    shape: Shape
    keys: Keys
    sorts: Mapping[str, str]
    default_sort: str = "ID"
    children: Children | None = None
    select: str = "select t.num, t.body from {table} t where t.shop = ?"
    binds: int = 1
    whole: Callable[[Body, Row], Body] | None = None
    needs: tuple[str, ...] = field(default=())  # fields for which `whole` is worth its while


def _customer_totals(body: Body, row: Row) -> Body:
    orders, spent, currency = row[2:]
    return with_totals(body, orders, spent, currency)


def _checkout_owner(body: Body, row: Row) -> Body:
    """The customer as they are now, None when they are gone."""
    if row[2] is None:
        return body | {"customer": None}
    owner = orjson.loads(row[2])
    address = owner["defaultEmailAddress"]
    shown = {"emailAddress": address["emailAddress"]} if address else None
    return body | {"customer": {"id": owner["id"], "defaultEmailAddress": shown}}


CUSTOMERS = RootList(
    table="customers",
    type_name="Customer",
    shape=shapes.CUSTOMER,
    keys=Keys(times=TIMES, numbers=NUMBERS, whole_days=True),
    sorts=SORTS | UPDATED,
    select=f"""select t.num, t.body, coalesce(counted.orders, 0) + t.extra_orders,
          coalesce(counted.spent, 0) + t.extra_spent, shops.currency
        from customers t join shops on shops.shop = t.shop
        left join ({ALL_COUNTED}) counted on counted.customer = t.num where t.shop = ?""",
    binds=2,
    whole=_customer_totals,
    needs=("numberOfOrders", "amountSpent"),
)
ORDERS = RootList(
    table="orders",
    type_name="Order",
    shape=shapes.ORDER,
    keys=Keys(times=TIMES | PROCESSED_KEY, numbers=NUMBERS),
    sorts=SORTS | UPDATED | {"PROCESSED_AT": "t.processed_at"},
    default_sort="PROCESSED_AT",
    children=Children(
        field="lineItems", table="line_items", type_name="LineItem", shape=shapes.LINE_ITEM
    ),
)
PRODUCTS = RootList(
    table="products",
    type_name="Product",
    shape=shapes.PRODUCT,
    keys=Keys(times=TIMES, numbers=NUMBERS),
    sorts=SORTS | UPDATED,
)
CHECKOUTS = RootList(
    table="checkouts",
    type_name="AbandonedCheckout",
    shape=shapes.CHECKOUT,
    keys=Keys(times=TIMES, numbers=NUMBERS, choices={"recovery_state": RECOVERY}),
    sorts=SORTS,  # Shopify has none by the time of the last update
    children=Children(
        field="lineItems",
        table="checkout_items",
        type_name="AbandonedCheckoutLineItem",
        shape=shapes.CHECKOUT_ITEM,
    ),
    select="""select t.num, t.body, c.body from checkouts t
        left join customers c on c.shop = t.shop and c.num = t.customer where t.shop = ?""",
    whole=_checkout_owner,
    needs=("customer",),
)
ROOTS: dict[str, RootList] = {
    "customers": CUSTOMERS,
    "orders": ORDERS,
    "products": PRODUCTS,
    "abandonedCheckouts": CHECKOUTS,
}
