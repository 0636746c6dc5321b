"""The fields of Shopify's objects that the sandbox keeps, and what makes a line of a folder good.

A stored object has every field named here, so a field that is missing from it is one that the
sandbox does not stand in for.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.clock import epoch

Shape = dict[str, "Shape | None"]

MONEY: Shape = {"shopMoney": {"amount": None, "currencyCode": None}}
CUSTOMER: Shape = {
    "id": None,
    "firstName": None,
    "lastName": None,
    "locale": None,
    "tags": None,
    "createdAt": None,
    "updatedAt": None,
    "defaultEmailAddress": {
        "emailAddress": None,
        "marketingState": None,
        "marketingOptInLevel": None,
        "marketingUpdatedAt": None,
        "validFormat": None,
    },
    "defaultPhoneNumber": {"phoneNumber": None},
}
ORDER: Shape = {
    "id": None,
    "name": None,
    "email": None,
    "createdAt": None,
    "updatedAt": None,
    "processedAt": None,
    "cancelledAt": None,
    "test": None,
    "displayFinancialStatus": None,
    "sourceName": None,
    "checkoutToken": None,
    "discountCodes": None,
    "currencyCode": None,
    "currentTotalPriceSet": MONEY,
    "totalPriceSet": MONEY,
    "totalRefundedSet": MONEY,
    "customer": {"id": None},
}
LINE_ITEM: Shape = {
    "id": None,
    "title": None,
    "variantTitle": None,
    "sku": None,
    "quantity": None,
    "currentQuantity": None,
    "product": {"id": None},
    "originalUnitPriceSet": MONEY,
}

MARKETING_STATES = frozenset({"INVALID", "NOT_SUBSCRIBED", "PENDING", "SUBSCRIBED", "UNSUBSCRIBED"})
FINANCIAL_STATUSES = frozenset(
    {
        "AUTHORIZED",
        "EXPIRED",
        "PAID",
        "PARTIALLY_PAID",
        "PARTIALLY_REFUNDED",
        "PENDING",
        "REFUNDED",
        "VOIDED",
    }
)
UNCOUNTED_STATUSES = frozenset({"VOIDED", "EXPIRED", "REFUNDED"})
LARGEST_ID = 2**63 - 1


class BadLineError(ValueError):
    """Why a line of a folder cannot be one of Shopify's."""


def id_number(gid: Any, kind: str) -> int:
    """123 of `gid://shopify/<kind>/123`. Raises BadLineError for anything else."""
    head, _, tail = gid.rpartition("/") if isinstance(gid, str) else ("", "", "")
    if head != f"gid://shopify/{kind}" or not (tail.isascii() and tail.isdigit()):
        raise BadLineError(f"not the id of a {kind}")
    number = int(tail)
    if number > LARGEST_ID:
        raise BadLineError(f"not the id of a {kind}")
    return number


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def normal_email(address: str | None) -> str | None:
    """The address as it is compared: trimmed, lower case; None for none."""
    return (address or "").strip().lower() or None


def good_customer(line: dict[str, Any]) -> dict[str, Any]:
    """The customer with every field of CUSTOMER. Raises BadLineError."""
    body = {"tags": [], "locale": "en"} | line
    _times(body, "createdAt", "updatedAt")
    if not isinstance(body["tags"], list):
        raise BadLineError("tags is not a list")
    address = body.get("defaultEmailAddress")
    if address is not None:
        if not isinstance(address, dict) or not isinstance(address.get("emailAddress"), str):
            raise BadLineError("defaultEmailAddress is not an address")
        if address.setdefault("marketingState", "NOT_SUBSCRIBED") not in MARKETING_STATES:
            raise BadLineError("marketingState is not one of Shopify's")
        address.setdefault("validFormat", True)
    return _complete(body, CUSTOMER)


def good_order(line: dict[str, Any]) -> dict[str, Any]:
    """The order with every field of ORDER. Raises BadLineError."""
    body = {"test": False, "discountCodes": [], "cancelledAt": None} | line
    _times(body, "createdAt", "updatedAt", "processedAt")
    if body["cancelledAt"] is not None:
        _times(body, "cancelledAt")
    if not isinstance(body["test"], bool):
        raise BadLineError("test is not true or false")
    if body.get("displayFinancialStatus") not in FINANCIAL_STATUSES | {None}:
        raise BadLineError("displayFinancialStatus is not one of Shopify's")
    if not isinstance(body["discountCodes"], list):
        raise BadLineError("discountCodes is not a list")
    for name in ("currentTotalPriceSet", "totalPriceSet", "totalRefundedSet"):
        amount(body, name)
    if body.get("customer") is not None and not isinstance(body["customer"], dict):
        raise BadLineError("customer is not an object")
    return _complete(body, ORDER)


def good_line_item(line: dict[str, Any]) -> dict[str, Any]:
    """The line item with every field of LINE_ITEM. Raises BadLineError."""
    if not isinstance(line.get("quantity"), int):
        raise BadLineError("quantity is not a whole number")
    body = {"currentQuantity": line["quantity"]} | line
    amount(body, "originalUnitPriceSet")
    return _complete(body, LINE_ITEM)


def amount(body: dict[str, Any], name: str) -> Decimal:
    """The shop money of the money bag `name`. Raises BadLineError when it is none."""
    try:
        money = body[name]["shopMoney"]
        text, currency = money["amount"], money["currencyCode"]
        if not (isinstance(text, str) and isinstance(currency, str)):
            raise BadLineError(f"{name} is not money")
        value = Decimal(text)
    except (KeyError, TypeError, InvalidOperation):
        raise BadLineError(f"{name} is not money") from None
    if not value.is_finite():
        raise BadLineError(f"{name} is not money")
    return value


def is_counted(order: dict[str, Any]) -> bool:
    """Whether the order counts as a purchase; zero totals do, refunded in full does not."""
    if order["test"] or order["cancelledAt"] is not None:
        return False
    if order["displayFinancialStatus"] in UNCOUNTED_STATUSES:
        return False
    original = amount(order, "totalPriceSet")
    return not (original > 0 and amount(order, "totalRefundedSet") >= original)


def _times(body: dict[str, Any], *names: str) -> None:
    for name in names:
        try:
            epoch(body[name])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise BadLineError(f"{name} is not a time") from None


def _complete(body: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """`body` with the fields of `shape` and no others, null where it has none."""
    whole: dict[str, Any] = {}
    for name, inner in shape.items():
        value = body.get(name)
        if inner is not None and isinstance(value, dict):
            value = _complete(value, inner)
        whole[name] = value
    return whole
