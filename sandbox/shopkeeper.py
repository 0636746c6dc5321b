"""What happens in a shop: orders are placed, cancelled and refunded, consent changes.

Each call is one transaction that changes the store and queues the webhooks that Shopify would
send; the caller wakes the deliverer.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from sandbox.clock import utc_z
from sandbox.http import BadRequestError
from sandbox.loader import (
    INSERT_CUSTOMER,
    INSERT_LINE_ITEM,
    INSERT_ORDER,
    customer_row,
    line_item_row,
    order_row,
)
from sandbox.shapes import amount, gid, is_counted, normal_email
from sandbox.shop_folder import amount as cents_text
from sandbox.shopify import rest_shapes
from sandbox.shopify.webhooks import announce

Body = dict[str, Any]
CENTS = 100


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """Someone given by address; a customer is made of them unless the shop has one already."""

    email: str
    first_name: str = "Ada"
    last_name: str = "Example"
    consent: str = "NOT_SUBSCRIBED"


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """`customer`: a Buyer, the number of a customer, or None for a guest. Times are epochs."""

    customer: Buyer | int | None
    total: Decimal = Decimal("49.90")
    test: bool = False
    cancelled: bool = False
    processed_at: float | None = None
    readable_after_reads: int = 0
    status: str = "PAID"


@dataclass(frozen=True, kw_only=True)
class Shop:
    """One shop within one transaction."""

    db: sqlite3.Connection
    row: sqlite3.Row
    version: str
    now: float

    @property
    def zone(self) -> str:
        return str(self.row["time_zone"])

    def number(self, counter: str) -> int:
        """The next number of `next_customer`, `next_order`, `next_line` or `next_name`."""
        row = self.db.execute(
            f"update shops set {counter} = {counter} + 1 where shop = ? returning {counter} - 1",
            [self.row["shop"]],
        ).fetchone()
        return int(row[0])

    def announce(
        self, topic: str, payload: Body, *, order: int | None = None, at: Sequence[float] = ()
    ) -> str | None:
        return announce(
            self.db,
            self.row,
            topic,
            payload,
            version=self.version,
            now=self.now,
            order_num=order,
            at=at,
        )


def place_order(shop: Shop, wanted: Purchase, *, at: Sequence[float] = ()) -> Body:
    """`order`, `customer` (gids) and `webhook_id`. `at`: when each copy of the webhook is due."""
    customer = _customer_for(shop, wanted)
    number = shop.number("next_order")
    order = _order_body(shop, wanted, number, customer)
    item = _line_item(shop, order, wanted.total)
    shop.db.execute(INSERT_ORDER, order_row(shop.row["shop"], order, placed_at=shop.now))
    shop.db.execute(
        INSERT_LINE_ITEM, line_item_row(shop.row["shop"], {**item, "__parentId": order["id"]})
    )
    payload = rest_shapes.order_payload(order, [item], customer, zone=shop.zone)
    webhook_id = shop.announce("orders/create", payload, order=number, at=at)
    if order["displayFinancialStatus"] == "PAID":
        shop.announce("orders/paid", payload, order=number, at=at[-1:])
    return {
        "order": order["id"],
        "customer": customer and customer["id"],
        "webhook_id": webhook_id,
    }


def cancel_order(shop: Shop, number: int) -> Body:
    """Cancels the order; it counts no more."""
    order = _order(shop, number)
    if order["cancelledAt"]:
        raise BadRequestError("the order is cancelled already")
    order |= {"cancelledAt": utc_z(shop.now)}
    payload = _changed(shop, number, order)
    shop.announce("orders/cancelled", payload, order=number)
    webhook_id = shop.announce("orders/updated", payload, order=number)
    return {"order": order["id"], "webhook_id": webhook_id}


def refund_order(shop: Shop, number: int, sum_: Decimal | None) -> Body:
    """Refunds `sum_`, or all that is left."""
    order = _order(shop, number)
    refunded, total = amount(order, "totalRefundedSet"), amount(order, "totalPriceSet")
    back = total - refunded if sum_ is None else sum_
    if not 0 < back <= total - refunded:
        raise BadRequestError("there is not that much left to refund")
    refunded += back
    status = "REFUNDED" if refunded == total else "PARTIALLY_REFUNDED"
    currency = order["currencyCode"]
    order |= {
        "displayFinancialStatus": status,
        "totalRefundedSet": _money(refunded, currency),
        "currentTotalPriceSet": _money(total - refunded, currency),
    }
    payload = _changed(shop, number, order)
    refund = rest_shapes.refund_payload(
        order, refund=shop.number("next_line"), amount=f"{back:.2f}", zone=shop.zone
    )
    shop.announce("refunds/create", refund, order=number)
    webhook_id = shop.announce("orders/updated", payload, order=number)
    return {"order": order["id"], "webhook_id": webhook_id}


def set_consent(shop: Shop, number: int, state: str) -> Body:
    """Changes the marketing state; what it was before is kept with the time."""
    row = _customer_row(shop, number)
    customer: Body = orjson.loads(row["body"])
    if customer["defaultEmailAddress"] is None:
        raise BadRequestError("the customer has no address")
    stamp = utc_z(shop.now)
    customer["defaultEmailAddress"] |= {"marketingState": state, "marketingUpdatedAt": stamp}
    customer["updatedAt"] = stamp
    if row["reads_left"] == 0 and row["consent"] != state:
        shop.db.execute(
            "insert into consent_changes (shop, customer, previous, state, at)"
            " values (?, ?, ?, ?, ?)",
            [shop.row["shop"], number, row["consent"], state, shop.now],
        )
    _save_customer(shop, number, customer)
    shop.announce("customers/update", rest_shapes.customer_payload(customer, zone=shop.zone))
    webhook_id = shop.announce(
        "customers_email_marketing_consent/update",
        rest_shapes.consent_payload(customer, zone=shop.zone),
    )
    return {"customer": customer["id"], "consent": state, "webhook_id": webhook_id}


# ------------------------------------------------------------------ customers


def _customer_for(shop: Shop, wanted: Purchase) -> Body | None:
    if wanted.customer is None:
        return None
    if isinstance(wanted.customer, int):
        customer = orjson.loads(_customer_row(shop, wanted.customer)["body"])
    else:
        customer = _known_buyer(shop, wanted.customer) or _new_customer(shop, wanted.customer)
    number = rest_shapes.number_of(customer["id"])
    customer["updatedAt"] = utc_z(shop.now)
    _save_customer(shop, number, customer)
    if wanted.readable_after_reads:
        shop.db.execute(
            "update customers set reads_left = ? where shop = ? and num = ?",
            [wanted.readable_after_reads + 1, shop.row["shop"], number],
        )
    return dict(customer)


def _known_buyer(shop: Shop, buyer: Buyer) -> Body | None:
    row = shop.db.execute(
        "select body from customers where shop = ? and email = ? order by num",
        [shop.row["shop"], normal_email(buyer.email)],
    ).fetchone()
    return orjson.loads(row["body"]) if row else None


def _new_customer(shop: Shop, buyer: Buyer) -> Body:
    number, stamp = shop.number("next_customer"), utc_z(shop.now)
    asked = buyer.consent != "NOT_SUBSCRIBED"
    customer: Body = {
        "id": gid("Customer", number),
        "firstName": buyer.first_name,
        "lastName": buyer.last_name,
        "locale": "en",
        "tags": [],
        "createdAt": stamp,
        "updatedAt": stamp,
        "defaultEmailAddress": {
            "emailAddress": buyer.email,
            "marketingState": buyer.consent,
            "marketingOptInLevel": "CONFIRMED_OPT_IN"
            if buyer.consent == "PENDING"
            else "SINGLE_OPT_IN",
            "marketingUpdatedAt": stamp if asked else None,
            "validFormat": True,
        },
        "defaultPhoneNumber": None,
    }
    shop.db.execute(INSERT_CUSTOMER, customer_row(shop.row["shop"], customer))
    shop.announce("customers/create", rest_shapes.customer_payload(customer, zone=shop.zone))
    return customer


def _customer_row(shop: Shop, number: int) -> sqlite3.Row:
    row: sqlite3.Row | None = shop.db.execute(
        "select * from customers where shop = ? and num = ?", [shop.row["shop"], number]
    ).fetchone()
    if row is None:
        raise BadRequestError(f"the shop has no customer {number}")
    return row


def _save_customer(shop: Shop, number: int, customer: Body) -> None:
    _, _, email, consent, _, updated_at, body = customer_row(shop.row["shop"], customer)
    shop.db.execute(
        "update customers set email = ?, consent = ?, updated_at = ?, body = ?"
        " where shop = ? and num = ?",
        [email, consent, updated_at, body, shop.row["shop"], number],
    )


# ------------------------------------------------------------------ orders


def _order_body(shop: Shop, wanted: Purchase, number: int, customer: Body | None) -> Body:
    stamp, currency = utc_z(shop.now), shop.row["currency"]
    name = f"#{shop.number('next_name')}"
    address = customer and customer["defaultEmailAddress"]
    guest = f"guest-{number}@example.com" if customer is None else None
    return {
        "id": gid("Order", number),
        "name": name,
        "email": address["emailAddress"] if address else guest,
        "createdAt": stamp,
        "updatedAt": stamp,
        "processedAt": stamp if wanted.processed_at is None else utc_z(wanted.processed_at),
        "cancelledAt": stamp if wanted.cancelled else None,
        "test": wanted.test,
        "displayFinancialStatus": wanted.status,
        "sourceName": "web",
        "checkoutToken": f"checkout{number:x}",
        "discountCodes": [],
        "currencyCode": currency,
        "currentTotalPriceSet": _money(wanted.total, currency),
        "totalPriceSet": _money(wanted.total, currency),
        "totalRefundedSet": _money(Decimal(0), currency),
        "customer": {"id": customer["id"]} if customer else None,
    }


def _line_item(shop: Shop, order: Body, price: Decimal) -> Body:
    return {
        "id": gid("LineItem", shop.number("next_line")),
        "title": "A thing from the sandbox",
        "variantTitle": None,
        "sku": "SANDBOX-1",
        "quantity": 1,
        "currentQuantity": 1,
        "product": {"id": gid("Product", 1)},
        "originalUnitPriceSet": _money(price, order["currencyCode"]),
    }


def _order(shop: Shop, number: int) -> Body:
    row = shop.db.execute(
        "select body from orders where shop = ? and num = ?", [shop.row["shop"], number]
    ).fetchone()
    if row is None:
        raise BadRequestError(f"the shop has no order {number}")
    order: Body = orjson.loads(row["body"])
    return order


def _changed(shop: Shop, number: int, order: Body) -> Body:
    """Stores the order as it is now; its webhook body. When it stopped counting is kept."""
    order["updatedAt"] = utc_z(shop.now)
    counts = is_counted(order)
    shop.db.execute(
        """update orders set body = ?, updated_at = ?,
             uncounted_at = case when is_counted and not ? then ? else uncounted_at end,
             is_counted = ? where shop = ? and num = ?""",
        [orjson.dumps(order), shop.now, counts, shop.now, counts, shop.row["shop"], number],
    )
    items = [
        orjson.loads(body)
        for (body,) in shop.db.execute(
            "select body from line_items where shop = ? and parent = ? order by num",
            [shop.row["shop"], number],
        )
    ]
    owner = order["customer"]
    customer = (
        owner
        and shop.db.execute(
            "select body from customers where shop = ? and num = ?",
            [shop.row["shop"], rest_shapes.number_of(owner["id"])],
        ).fetchone()
    )
    return rest_shapes.order_payload(
        order, items, orjson.loads(customer["body"]) if customer else None, zone=shop.zone
    )


def _money(value: Decimal, currency: str) -> Body:
    cents = int((value * CENTS).to_integral_value())
    return {"shopMoney": {"amount": cents_text(cents), "currencyCode": currency}}
