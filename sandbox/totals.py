"""What Shopify counts of a customer: orders that are no tests, and the money spent on them.

Counted from the store's orders. Where a folder says something else (it need not hold every order
a customer ever made), the difference is kept beside the customer and added from then on.
"""

import sqlite3
from decimal import Decimal
from typing import Any

import orjson

_SCALE = 3  # the columns hold thousandths
_COUNTED = """
    select customer, sum(not is_test) as orders,
           sum(case when is_counted then spent else 0 end) as spent
    from orders where shop = ? and customer is not null {only} group by customer"""
# Every customer's counted orders; scans the index orders_totals.
ALL_COUNTED = _COUNTED.format(only="")
_ONE_COUNTED = _COUNTED.format(only="and customer = ?")


def counted(db: sqlite3.Connection, shop: int, customer: int) -> tuple[int, int]:
    """(orders, thousandths spent) of one customer, by the store's orders."""
    row = db.execute(_ONE_COUNTED, [shop, customer]).fetchone()
    return (row["orders"], row["spent"]) if row else (0, 0)


def as_shown(db: sqlite3.Connection, shop: sqlite3.Row, row: sqlite3.Row) -> dict[str, Any]:
    """The customer of that row as Shopify shows them now."""
    orders, spent = counted(db, shop["shop"], row["num"])
    body = {"__typename": "Customer", **orjson.loads(row["body"])}
    return with_totals(
        body, orders + row["extra_orders"], spent + row["extra_spent"], shop["currency"]
    )


def with_totals(body: dict[str, Any], orders: int, spent: int, currency: str) -> dict[str, Any]:
    """The customer with `numberOfOrders` and `amountSpent` as they are now."""
    body["numberOfOrders"] = str(orders)
    body["amountSpent"] = {"amount": amount_text(spent), "currencyCode": currency}
    return body


def amount_text(thousandths: int) -> str:
    """Shopify's form of an amount: 55000 -> "55.0", 12990 -> "12.99"."""
    text = f"{Decimal(thousandths).scaleb(-_SCALE):f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def keep_differences(db: sqlite3.Connection, shop: int) -> None:
    """After a load: what the folder says beyond its own orders is kept beside each customer."""
    db.execute(
        f"""update customers set
              extra_orders = coalesce((cast(given.body as text) ->> '$.numberOfOrders')
                - coalesce(counted.orders, 0), 0),
              extra_spent = coalesce(cast(round(1000 *
                (cast(given.body as text) ->> '$.amountSpent.amount')) as integer)
                - coalesce(counted.spent, 0), 0)
            from customers as given left join ({ALL_COUNTED}) as counted
              on counted.customer = given.num
            where customers.shop = given.shop and customers.num = given.num
              and given.shop = ?""",
        [shop, shop],
    )
