"""What a webhook changes, by topic. Runs in the transaction that stores it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from core.ingestion import customers, orders
from core.ingestion.refresh import request
from core.ingestion.rows import Row, line_row, order_row
from core.models import Shop
from core.models.enums import ObjectType
from core.shopify import gid
from core.shopify.rest import (
    BodyError,
    WebhookOrder,
    other_shop,
    read_customer,
    read_json,
    read_order,
)

Handler = Callable[[Session, Shop, bytes, datetime], None]


def apply_webhook(session: Session, shop: Shop, topic: str, body: bytes, *, at: datetime) -> bool:
    """Apply a signed body; False for a topic we do not use (yet).

    Raises BodyError when the body cannot be read or applied, or names another shop.
    """
    data = read_json(body)
    named = other_shop(data, domain=shop.domain, shopify_id=shop.shopify_id)
    if named is not None:
        raise BodyError(f"The body belongs to another shop ({named}), not to {shop.domain}.")
    handler = HANDLERS.get(topic)
    if handler is None:
        return False
    handler(session, shop, body, at)
    return True


def _order(session: Session, shop: Shop, body: bytes, at: datetime) -> None:
    """The customer, then the order, then what must be read: locks in the order all take them."""
    found = read_order(body)
    shop_id, customer = shop.shop_id, found.customer
    asks_consent = customer is not None and customers.apply_webhook(session, shop_id, customer)
    reason = "partial body"
    if not found.is_partial:
        rows, lines = _rows(found)
        contested = orders.apply_few(session, shop_id, rows, lines, at=at)
        # Two changes within one second arrive in any order; only Shopify knows the last.
        reason = "two states at one time" if contested else ""
    if customer is not None and asks_consent:
        _refresh_customer(session, shop, customer.customer_id, at)
    if reason:
        _refresh_order(session, shop, found.order_id, reason, at)


def _rows(found: WebhookOrder) -> tuple[list[Row], list[Row]]:
    try:
        return [order_row(found.order)], [line_row(line, found.order_id) for line in found.lines]
    except ValueError as error:
        raise BodyError(f"The order cannot be read: {error}") from None


def _customer(session: Session, shop: Shop, body: bytes, at: datetime) -> None:
    customer = read_customer(body)
    if customers.apply_webhook(session, shop.shop_id, customer):
        _refresh_customer(session, shop, customer.customer_id, at)


def _refund(session: Session, shop: Shop, body: bytes, at: datetime) -> None:
    """A refund names its order; only the order itself tells what is left of it."""
    order_id = _positive_number(read_json(body).get("order_id"), "order_id")
    _refresh_order(session, shop, order_id, "refund", at)


def _edit(session: Session, shop: Shop, body: bytes, at: datetime) -> None:
    edit = read_json(body).get("order_edit")
    order_id = edit.get("order_id") if isinstance(edit, dict) else None
    _refresh_order(session, shop, _positive_number(order_id, "order_edit.order_id"), "edit", at)


def _refresh_customer(session: Session, shop: Shop, customer_id: int, at: datetime) -> None:
    request(session, shop.shop_id, ObjectType.CUSTOMER, [customer_id], "consent unknown", at=at)


def _refresh_order(session: Session, shop: Shop, order_id: int, reason: str, at: datetime) -> None:
    request(session, shop.shop_id, ObjectType.ORDER, [order_id], reason, at=at)


def _positive_number(value: Any, name: str) -> int:
    if not isinstance(value, int) or value is True or not 0 < value <= gid.LARGEST:
        raise BodyError(f"The body cannot be applied: `{name}` is not an id.")
    return value


HANDLERS: Final[Mapping[str, Handler]] = {
    "orders/create": _order,
    "orders/updated": _order,
    "orders/paid": _order,
    "orders/cancelled": _order,
    "orders/edited": _edit,
    "refunds/create": _refund,
    "customers/create": _customer,
    "customers/update": _customer,
}
