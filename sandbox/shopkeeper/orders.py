"""What becomes of an order: it is cancelled, refunded, edited, deleted."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import orjson

from sandbox.clock import utc_z
from sandbox.history import note_order_gone
from sandbox.http import BadRequestError
from sandbox.shapes import amount, gid
from sandbox.shopify import rest_events, rest_shapes
from sandbox.shopkeeper.purchases import Line, add_line, total_of
from sandbox.shopkeeper.shop import Body, Shop, money


def cancel_order(shop: Shop, number: int) -> Body:
    """Cancels the order; it counts no more."""
    order = shop.order(number)
    if order["cancelledAt"]:
        raise BadRequestError("the order is cancelled already")
    order |= {"cancelledAt": utc_z(shop.now)}
    payload = shop.save_order(number, order)
    shop.announce("orders/cancelled", payload, order=number)
    webhook_id = shop.announce("orders/updated", payload, order=number)
    return {"order": order["id"], "webhook_id": webhook_id}


def refund_order(shop: Shop, number: int, sum_: Decimal | None) -> Body:
    """Refunds `sum_`, or all that is left."""
    order = shop.order(number)
    left, refunded = amount(order, "currentTotalPriceSet"), amount(order, "totalRefundedSet")
    back = left if sum_ is None else sum_
    if not 0 < back <= left:
        raise BadRequestError("there is not that much left to refund")
    refund = {
        "id": gid("Refund", shop.number("next_line")),
        "processedAt": utc_z(shop.now),
        "totalRefundedSet": money(back, order["currencyCode"]),
    }
    order |= {
        "displayFinancialStatus": "REFUNDED" if back == left else "PARTIALLY_REFUNDED",
        "totalRefundedSet": money(refunded + back, order["currencyCode"]),
        "currentTotalPriceSet": money(left - back, order["currencyCode"]),
        "refunds": [*order["refunds"], refund],
    }
    payload = shop.save_order(number, order)
    told = rest_shapes.refund_payload(order, refund, zone=shop.zone)
    shop.announce("refunds/create", told, order=number)
    webhook_id = shop.announce("orders/updated", payload, order=number)
    return {"order": order["id"], "refund": refund["id"], "webhook_id": webhook_id}


class _Change(NamedTuple):
    line: int
    units: int
    worth: Decimal


def edit_order(
    shop: Shop, number: int, *, quantities: Mapping[int, int], add: Sequence[Line] = ()
) -> Body:
    """Sets how many of the lines (by number) are left in the order, and adds others."""
    order = shop.order(number)
    if order["cancelledAt"]:
        raise BadRequestError("a cancelled order cannot be edited")
    changes = [_set_quantity(shop, number, line, units) for line, units in quantities.items()]
    for line in add:
        item = add_line(shop, order["id"], line)
        changes.append(_Change(rest_shapes.number_of(item["id"]), line.quantity, total_of([line])))
    if not any(change.units for change in changes):
        raise BadRequestError("the edit changes nothing")
    worth = amount(order, "currentTotalPriceSet") + sum(change.worth for change in changes)
    order["currentTotalPriceSet"] = money(max(worth, Decimal(0)), order["currencyCode"])
    payload = shop.save_order(number, order)
    edit = rest_events.edit_payload(
        number,
        edit=shop.number("next_line"),
        additions=[(change.line, change.units) for change in changes if change.units > 0],
        removals=[(change.line, -change.units) for change in changes if change.units < 0],
        at=shop.now,
        zone=shop.zone,
    )
    shop.announce("orders/edited", edit, order=number)
    webhook_id = shop.announce("orders/updated", payload, order=number)
    return {"order": order["id"], "webhook_id": webhook_id}


def _set_quantity(shop: Shop, order: int, line: int, units: int) -> _Change:
    """More units than were ever ordered raise `quantity`; fewer leave it as it was."""
    row = shop.db.execute(
        "select body from line_items where shop = ? and parent = ? and num = ?",
        [shop.num, order, line],
    ).fetchone()
    if row is None:
        raise BadRequestError(f"the order has no line {line}")
    item = orjson.loads(row["body"])
    difference = units - item["currentQuantity"]
    item |= {"quantity": max(item["quantity"], units), "currentQuantity": units}
    shop.db.execute(
        "update line_items set body = ? where shop = ? and parent = ? and num = ?",
        [orjson.dumps(item), shop.num, order, line],
    )
    return _Change(line, difference, amount(item, "originalUnitPriceSet") * difference)


def delete_order(shop: Shop, number: int) -> Body:
    """Deletes the order with its lines: Shopify knows nothing of it any more."""
    order = shop.order(number)
    note_order_gone(shop.db, shop.num, number, at=shop.now)
    shop.db.execute("delete from line_items where shop = ? and parent = ?", [shop.num, number])
    shop.db.execute("delete from orders where shop = ? and num = ?", [shop.num, number])
    payload = rest_events.order_deleted_payload(number)
    webhook_id = shop.announce("orders/delete", payload, order=number)
    return {"order": order["id"], "webhook_id": webhook_id}
