"""Someone goes to the till: the checkout is left there, changed, completed or deleted."""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal

import orjson

from sandbox import shop_folder
from sandbox.clock import utc_z
from sandbox.history import LEFT, OVER, note_checkout
from sandbox.http import BadRequestError
from sandbox.loader import (
    INSERT_CHECKOUT,
    INSERT_CHECKOUT_ITEM,
    checkout_item_row,
    checkout_row,
)
from sandbox.shapes import gid
from sandbox.shopify import rest_events
from sandbox.shopkeeper.customers import owner_of_checkout
from sandbox.shopkeeper.purchases import (
    Buyer,
    Line,
    Purchase,
    customer_for,
    line_fields,
    place_order,
    total_of,
)
from sandbox.shopkeeper.shop import Body, Shop, money

DEFAULT_LINES = (Line(price=Decimal("49.90")),)


def start_checkout(
    shop: Shop, customer: Buyer | int, lines: Sequence[Line] = DEFAULT_LINES
) -> Body:
    """Someone has given an address and goes no further, so far."""
    owner = customer_for(shop, customer)
    number, stamp = shop.number("next_checkout"), utc_z(shop.now)
    token = f"checkout{number:x}t"
    checkout: Body = {
        "id": gid("AbandonedCheckout", number),
        "name": f"#{number}",
        "createdAt": stamp,
        "updatedAt": stamp,
        "completedAt": None,
        "abandonedCheckoutUrl": _recovery_url(shop, token),
        "discountCodes": [],
        **_totals(lines, shop.currency),
        "customer": owner and owner_of_checkout(owner),
    }
    shop.db.execute(INSERT_CHECKOUT, checkout_row(shop.num, checkout, token=token))
    _put(shop, checkout["id"], lines)
    row = _row(shop, token)
    note_checkout(shop.db, shop.num, token, row["customer"], LEFT, at=shop.now)
    webhook_id = _announce(shop, "checkouts/create", row)
    return {
        "checkout": checkout["id"],
        "token": token,
        "customer": owner and owner["id"],
        "webhook_id": webhook_id,
    }


def update_checkout(shop: Shop, token: str, lines: Sequence[Line]) -> Body:
    """Other things lie in the basket now."""
    row = _open(shop, token)
    checkout: Body = orjson.loads(row["body"]) | _totals(lines, shop.currency)
    shop.db.execute(
        "delete from checkout_items where shop = ? and parent = ?", [shop.num, row["num"]]
    )
    _put(shop, checkout["id"], lines)
    _save(shop, row, checkout)
    return {
        "checkout": checkout["id"],
        "webhook_id": _announce(shop, "checkouts/update", _row(shop, token)),
    }


def complete_checkout(shop: Shop, token: str) -> Body:
    """Places the order of the checkout; `order`, `customer` and `webhook_id` as of any order."""
    row = _open(shop, token)
    checkout: Body = orjson.loads(row["body"])
    if row["customer"] is None:
        raise BadRequestError("the checkout has no customer any more")
    lines = [_line(item) for item in shop.items("checkout_items", row["num"])]
    checkout["completedAt"] = utc_z(shop.now)
    _save(shop, row, checkout)
    _announce(shop, "checkouts/update", _row(shop, token))
    bought = Purchase(
        customer=row["customer"], total=total_of(lines), lines=lines, checkout_token=token
    )
    return {"checkout": checkout["id"], **place_order(shop, bought)}


def delete_checkout(shop: Shop, token: str) -> Body:
    row = _row(shop, token)
    checkout: Body = orjson.loads(row["body"])
    for table, column in (("checkout_items", "parent"), ("checkouts", "num")):
        shop.db.execute(
            f"delete from {table} where shop = ? and {column} = ?", [shop.num, row["num"]]
        )
    note_checkout(shop.db, shop.num, token, row["customer"], OVER, at=shop.now)
    payload = rest_events.checkout_deleted_payload(checkout, token=token, shop=shop.row)
    return {"checkout": checkout["id"], "webhook_id": shop.announce("checkouts/delete", payload)}


# ------------------------------------------------------------------ what is stored


def _row(shop: Shop, token: str) -> sqlite3.Row:
    row: sqlite3.Row | None = shop.db.execute(
        "select * from checkouts where shop = ? and token = ?", [shop.num, token]
    ).fetchone()
    if row is None:
        raise BadRequestError(f"the shop has no checkout {token}")
    return row


def _open(shop: Shop, token: str) -> sqlite3.Row:
    row = _row(shop, token)
    if row["completed_at"] is not None:
        raise BadRequestError("the checkout is completed already")
    return row


def _save(shop: Shop, row: sqlite3.Row, checkout: Body) -> None:
    checkout["updatedAt"] = utc_z(shop.now)
    what = OVER if checkout["completedAt"] else LEFT
    note_checkout(shop.db, shop.num, row["token"], row["customer"], what, at=shop.now)
    values = checkout_row(shop.num, checkout, token=row["token"])
    _, num, _, customer, _, updated_at, completed_at, body = values
    shop.db.execute(
        "update checkouts set customer = ?, updated_at = ?, completed_at = ?, body = ?"
        " where shop = ? and num = ?",
        [customer, updated_at, completed_at, body, shop.num, num],
    )


def _put(shop: Shop, checkout: str, lines: Sequence[Line]) -> None:
    for line in lines:
        item = {
            "id": gid("AbandonedCheckoutLineItem", shop.number("next_line")),
            **line_fields(line, shop.currency),
            "__parentId": checkout,
        }
        shop.db.execute(INSERT_CHECKOUT_ITEM, checkout_item_row(shop.num, item))


def _announce(shop: Shop, topic: str, row: sqlite3.Row) -> str | None:
    customer = row["customer"] and shop.find_customer(row["customer"])
    payload = rest_events.checkout_payload(
        orjson.loads(row["body"]),
        shop.items("checkout_items", row["num"]),
        orjson.loads(customer["body"]) if customer else None,
        token=row["token"],
        shop=shop.row,
    )
    return shop.announce(topic, payload)


def _totals(lines: Sequence[Line], currency: str) -> Body:
    total = money(total_of(lines), currency)
    return {"totalPriceSet": total, "subtotalPriceSet": total}


def _line(item: Body) -> Line:
    product = item["product"]
    return Line(
        title=item["title"],
        price=Decimal(item["originalUnitPriceSet"]["shopMoney"]["amount"]),
        quantity=item["quantity"],
        variant_title=item["variantTitle"],
        sku=item["sku"],
        product=int(product["id"].rpartition("/")[2]) if product else None,
    )


def _recovery_url(shop: Shop, token: str) -> str:
    row = shop.row
    about = shop_folder.Shop(row["name"], row["domain"], row["currency"], row["time_zone"])
    return shop_folder.recovery_url(about, token, shop_number=shop.num)
