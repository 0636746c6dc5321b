"""The fields of Shopify's objects that the sandbox keeps, and what makes a line of a folder good.

A stored object has every field named here, in this order, and no other: a field that is missing
from it is one that the sandbox does not stand in for, and where all of them are asked for the
stored text is the answer.
"""

import re
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
    "numberOfOrders": None,
    "amountSpent": {"amount": None, "currencyCode": None},
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
REFUND: Shape = {"id": None, "processedAt": None, "totalRefundedSet": MONEY}
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
    "refunds": REFUND,
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

PRODUCT: Shape = {
    "id": None,
    "title": None,
    "handle": None,
    "status": None,
    "vendor": None,
    "productType": None,
    "createdAt": None,
    "updatedAt": None,
    "onlineStoreUrl": None,
    "featuredMedia": {"preview": {"image": {"url": None}}},
}
CHECKOUT: Shape = {
    "id": None,
    "name": None,
    "createdAt": None,
    "updatedAt": None,
    "completedAt": None,
    "abandonedCheckoutUrl": None,
    "discountCodes": None,
    "totalPriceSet": MONEY,
    "subtotalPriceSet": MONEY,
    "customer": {"id": None, "defaultEmailAddress": {"emailAddress": None}},
}
CHECKOUT_ITEM: Shape = {name: LINE_ITEM[name] for name in LINE_ITEM if name != "currentQuantity"}

PRODUCT_STATUSES = frozenset({"ACTIVE", "ARCHIVED", "DRAFT", "UNLISTED"})
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
_RECOVERY = re.compile(r"/checkouts/(?:\w{2}/)?([^/?#]+)/recover(?:[?#]|$)")


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
    _totals(body)
    return _complete(body, CUSTOMER)


def _totals(body: dict[str, Any]) -> None:
    """`numberOfOrders` and `amountSpent`, which a folder may leave out."""
    number = body.get("numberOfOrders")
    if number is not None and not (
        isinstance(number, str) and re.fullmatch(r"[0-9]{1,18}", number)
    ):
        raise BadLineError("numberOfOrders is not a count")
    if body.get("amountSpent") is not None:
        amount({"amountSpent": {"shopMoney": body["amountSpent"]}}, "amountSpent")


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
    body["refunds"] = _refunds(body)
    return _complete(body, ORDER)


def _refunds(order: dict[str, Any]) -> list[dict[str, Any]]:
    """The order's refunds; one at its last update when only their sum is known."""
    refunds = order.get("refunds") or []
    if not isinstance(refunds, list) or not all(isinstance(each, dict) for each in refunds):
        raise BadLineError("refunds is not a list of refunds")
    for refund in refunds:
        id_number(refund.get("id"), "Refund")
        _times(refund, "processedAt")
        amount(refund, "totalRefundedSet")
    if refunds or amount(order, "totalRefundedSet") <= 0:
        return refunds
    return [
        {
            "id": gid("Refund", id_number(order.get("id"), "Order")),
            "processedAt": order["updatedAt"],
            "totalRefundedSet": order["totalRefundedSet"],
        }
    ]


def good_line_item(line: dict[str, Any]) -> dict[str, Any]:
    """The line item with every field of LINE_ITEM. Raises BadLineError."""
    if not isinstance(line.get("quantity"), int):
        raise BadLineError("quantity is not a whole number")
    body = {"currentQuantity": line["quantity"]} | line
    amount(body, "originalUnitPriceSet")
    return _complete(body, LINE_ITEM)


def good_product(line: dict[str, Any]) -> dict[str, Any]:
    """The product with every field of PRODUCT. Raises BadLineError."""
    body = {"status": "ACTIVE"} | line
    _times(body, "createdAt", "updatedAt")
    if not isinstance(body.get("title"), str):
        raise BadLineError("title is not a text")
    if body["status"] not in PRODUCT_STATUSES:
        raise BadLineError("status is not one of Shopify's")
    return _complete(body, PRODUCT)


def good_checkout(line: dict[str, Any]) -> dict[str, Any]:
    """The checkout with every field of CHECKOUT. Raises BadLineError."""
    body = {"discountCodes": [], "completedAt": None} | line
    _times(body, "createdAt", "updatedAt")
    if body["completedAt"] is not None:
        _times(body, "completedAt")
    if not isinstance(body.get("abandonedCheckoutUrl"), str):
        raise BadLineError("abandonedCheckoutUrl is not an address")
    if not isinstance(body["discountCodes"], list):
        raise BadLineError("discountCodes is not a list")
    amount(body, "totalPriceSet")
    body.setdefault("subtotalPriceSet", body["totalPriceSet"])
    amount(body, "subtotalPriceSet")
    if body.get("customer") is not None and not isinstance(body["customer"], dict):
        raise BadLineError("customer is not an object")
    return _complete(body, CHECKOUT)


def good_checkout_item(line: dict[str, Any]) -> dict[str, Any]:
    """The line item with every field of CHECKOUT_ITEM. Raises BadLineError."""
    if not isinstance(line.get("quantity"), int):
        raise BadLineError("quantity is not a whole number")
    amount(line, "originalUnitPriceSet")
    return _complete(line, CHECKOUT_ITEM)


def recovery_token(url: str) -> str | None:
    """`abc` of `https://…/checkouts/ac/abc/recover?key=…`; None of any other address."""
    found = _RECOVERY.search(url)
    return found[1] if found else None


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
        elif inner is not None and isinstance(value, list):
            value = [_complete(each, inner) for each in value]
        whole[name] = value
    return whole
