"""Someone buys something."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

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
from sandbox.shapes import gid, normal_email
from sandbox.shopify import rest_shapes
from sandbox.shopkeeper.shop import Body, Shop, money


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """Someone given by address; a customer is made of them unless the shop has one already."""

    email: str
    first_name: str = "Ada"
    last_name: str = "Example"
    consent: str = "NOT_SUBSCRIBED"
    locale: str = "en"


@dataclass(frozen=True, kw_only=True)
class Line:
    """Something that is bought; `product` is the number of a product, None for a custom item."""

    title: str = "A thing from the sandbox"
    price: Decimal
    quantity: int = 1
    variant_title: str | None = None
    sku: str | None = "SANDBOX-1"
    product: int | None = 1


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """`customer`: a Buyer, the number of a customer, or None for a guest. Times are epochs.

    Without `lines` one thing is bought for the whole total.
    """

    customer: Buyer | int | None
    total: Decimal = Decimal("49.90")
    lines: Sequence[Line] = ()
    test: bool = False
    cancelled: bool = False
    processed_at: float | None = None
    readable_after_reads: int = 0
    status: str = "PAID"
    checkout_token: str | None = None
    discount_codes: tuple[str, ...] = ()


def total_of(lines: Sequence[Line]) -> Decimal:
    return sum((line.price * line.quantity for line in lines), Decimal(0))


def place_order(shop: Shop, wanted: Purchase, *, at: Sequence[float] = ()) -> Body:
    """`order`, `customer` (gids) and `webhook_id`. `at`: when each copy of the webhook is due."""
    customer = customer_for(shop, wanted.customer, readable_after_reads=wanted.readable_after_reads)
    number = shop.number("next_order")
    order = _order_body(shop, wanted, number, customer)
    shop.db.execute(INSERT_ORDER, order_row(shop.num, order, placed_at=shop.now))
    for code in wanted.discount_codes:
        _use_code(shop, code, number)
    items = [
        add_line(shop, order["id"], line)
        for line in wanted.lines or (Line(price=wanted.total, quantity=1),)
    ]
    payload = rest_shapes.order_payload(order, items, customer, shop=shop.row)
    webhook_id = shop.announce("orders/create", payload, order=number, at=at)
    if order["displayFinancialStatus"] == "PAID":
        shop.announce("orders/paid", payload, order=number, at=at[-1:])
    return {
        "order": order["id"],
        "customer": customer and customer["id"],
        "webhook_id": webhook_id,
    }


def _use_code(shop: Shop, code: str, order: int) -> None:
    """Mark a code of a discount as used; one that the till would not take is refused. A code that
    no discount has is the shopkeeper's own.
    """
    row = shop.db.execute(
        "select c.num, c.used_by, d.ends_at, json_extract(cast(d.body as text), '$.usageLimit')"
        " as most from discount_codes c join discounts d on d.num = c.discount"
        " where c.shop = ? and c.key = ?",
        [shop.num, code.strip().upper()],
    ).fetchone()
    if row is None:
        return
    if row["ends_at"] is not None and row["ends_at"] <= shop.now:
        raise BadRequestError(f"the code {code} has ended")
    if row["used_by"] is not None and row["most"] == 1:
        raise BadRequestError(f"the code {code} has been used")
    shop.db.execute("update discount_codes set used_by = ? where num = ?", [order, row["num"]])


def add_line(shop: Shop, order: str, line: Line) -> Body:
    """The line item, now part of the order with this gid."""
    item = {
        "id": gid("LineItem", shop.number("next_line")),
        **line_fields(line, shop.currency),
        "currentQuantity": line.quantity,
    }
    row = line_item_row(shop.num, {**item, "__parentId": order})
    shop.db.execute(INSERT_LINE_ITEM, row)
    return item


def line_fields(line: Line, currency: str) -> Body:
    """What a line of an order and one of a checkout have in common."""
    return {
        "title": line.title,
        "variantTitle": line.variant_title,
        "sku": line.sku,
        "quantity": line.quantity,
        "product": None if line.product is None else {"id": gid("Product", line.product)},
        "originalUnitPriceSet": money(line.price, currency),
    }


def customer_for(
    shop: Shop, wanted: Buyer | int | None, *, readable_after_reads: int = 0
) -> Body | None:
    """The customer who is at the till, made when the shop does not know the address."""
    if wanted is None:
        return None
    number = wanted if isinstance(wanted, int) else _known(shop, wanted) or _new(shop, wanted)
    row = shop.customer(number)
    customer: Body = orjson.loads(row["body"])
    shop.save_customer(row, customer)
    if readable_after_reads:
        shop.db.execute(
            "update customers set reads_left = ? where shop = ? and num = ?",
            [readable_after_reads + 1, shop.num, number],
        )
    return customer


def _known(shop: Shop, buyer: Buyer) -> int | None:
    row = shop.db.execute(
        "select num from customers where shop = ? and email = ? order by num",
        [shop.num, normal_email(buyer.email)],
    ).fetchone()
    return row["num"] if row else None


def _new(shop: Shop, buyer: Buyer) -> int:
    number, stamp = shop.number("next_customer"), utc_z(shop.now)
    asked = buyer.consent != "NOT_SUBSCRIBED"
    confirmed = buyer.consent == "PENDING"
    customer: Body = {
        "id": gid("Customer", number),
        "firstName": buyer.first_name,
        "lastName": buyer.last_name,
        "locale": buyer.locale,
        "tags": [],
        "createdAt": stamp,
        "updatedAt": stamp,
        "defaultEmailAddress": {
            "emailAddress": buyer.email,
            "marketingState": buyer.consent,
            "marketingOptInLevel": "CONFIRMED_OPT_IN" if confirmed else "SINGLE_OPT_IN",
            "marketingUpdatedAt": stamp if asked else None,
            "validFormat": True,
        },
        "defaultPhoneNumber": None,
    }
    shop.db.execute(INSERT_CUSTOMER, customer_row(shop.num, customer))
    shop.announce("customers/create", rest_shapes.customer_payload(customer, zone=shop.zone))
    return number


def _order_body(shop: Shop, wanted: Purchase, number: int, customer: Body | None) -> Body:
    stamp, currency = utc_z(shop.now), shop.currency
    address = customer and customer["defaultEmailAddress"]
    guest = f"guest-{number}@example.com" if customer is None else None
    return {
        "id": gid("Order", number),
        "name": f"#{shop.number('next_name')}",
        "email": address["emailAddress"] if address else guest,
        "createdAt": stamp,
        "updatedAt": stamp,
        "processedAt": stamp if wanted.processed_at is None else utc_z(wanted.processed_at),
        "cancelledAt": stamp if wanted.cancelled else None,
        "test": wanted.test,
        "displayFinancialStatus": wanted.status,
        "sourceName": "web",
        "checkoutToken": wanted.checkout_token or f"checkout{number:x}",
        "discountCodes": list(wanted.discount_codes),
        "currencyCode": currency,
        "currentTotalPriceSet": money(wanted.total, currency),
        "totalPriceSet": money(wanted.total, currency),
        "totalRefundedSet": money(Decimal(0), currency),
        "refunds": [],
        "customer": {"id": customer["id"]} if customer else None,
    }
