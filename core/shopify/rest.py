"""Webhook bodies (REST shapes) normalised to the shapes of core/shopify/shapes.py.

Statuses become upper case, the shop's offset becomes UTC, amounts come from `*_set.shop_money`.
What a body leaves out stays unknown: an order without its lines, its customer or readable refunds
is `partial`, and has to be read from Shopify instead.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from core.shopify import gid
from core.shopify.shapes import (
    AMOUNT_DIGITS,
    Int32,
    Moment,
    Money,
    MoneyBag,
    Order,
    OrderLine,
    Reference,
    Refund,
    check_address,
    check_moment,
)

Decoded = TypeVar("Decoded")

# Customers in orders may come without times; then whatever else we hear is newer.
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
SMALLEST_AMOUNT: Final = -30  # as a power of ten; spelled out, 1e-999999999 is a gigabyte of zeros

UNREADABLE: Final = (ValueError, RecursionError)  # msgspec's errors are ValueErrors


class BodyError(ValueError):
    """The body cannot be read or applied; the text says why, for the person who looks at it."""


class RestMoney(Struct, frozen=True):
    amount: Decimal
    currency_code: str


class RestMoneyBag(Struct, frozen=True):
    shop_money: RestMoney


class RestTransaction(Struct, frozen=True):
    kind: str | None = None
    status: str | None = None
    amount: Decimal | None = None
    amount_set: RestMoneyBag | None = None
    currency: str | None = None


class RestRefund(Struct, frozen=True):
    id: int | None = None
    admin_graphql_api_id: str | None = None
    created_at: Moment | None = None
    processed_at: Moment | None = None
    transactions: list[RestTransaction] | UnsetType = UNSET


class RestCode(Struct, frozen=True):
    code: str | None = None


class RestLine(Struct, frozen=True):
    title: str
    quantity: Int32
    id: int | None = None
    admin_graphql_api_id: str | None = None
    variant_title: str | None = None
    sku: str | None = None
    product_id: int | None = None
    current_quantity: Int32 | None = None
    price: Decimal | None = None
    price_set: RestMoneyBag | None = None


class RestCustomer(Struct, frozen=True):
    id: int | None = None
    admin_graphql_api_id: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None


class RestOrder(Struct, frozen=True):
    name: str
    created_at: Moment
    updated_at: Moment
    currency: str
    id: int | None = None
    admin_graphql_api_id: str | None = None
    processed_at: Moment | None = None
    cancelled_at: Moment | None = None
    test: bool = False
    email: str | None = None
    financial_status: str | None = None
    source_name: str | None = None
    checkout_token: str | None = None
    discount_codes: list[RestCode] = []
    total_price: Decimal | None = None
    total_price_set: RestMoneyBag | None = None
    current_total_price: Decimal | None = None
    current_total_price_set: RestMoneyBag | None = None
    refunds: list[RestRefund] = []
    line_items: list[RestLine] | UnsetType = UNSET
    customer: RestCustomer | UnsetType | None = UNSET
    # What may name the shop; of any type, because nothing of ours depends on it.
    shop_domain: Any = None
    myshopify_domain: Any = None
    shop_id: Any = None
    order_status_url: Any = None


class WebhookCustomer(Struct, frozen=True):
    """What a webhook tells of a customer."""

    customer_id: int
    email: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    created_at: datetime
    updated_at: datetime


class WebhookOrder(Struct, frozen=True):
    """An order in the shape of GraphQL, its lines, and what the body told of its customer."""

    order_id: int
    order: Order
    lines: list[OrderLine]
    customer: WebhookCustomer | None
    is_partial: bool
    naming: dict[str, Any]
    """What `other_shop` and `names_shop` look at."""


def read_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises BodyError."""
    try:
        data = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise BodyError(f"The body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BodyError("The body is not a JSON object.")
    return data


def read_order(body: bytes) -> WebhookOrder:
    """The order of an orders/* body. Raises BodyError."""
    rest = decode(body, RestOrder)
    try:
        return _order(rest)
    except (ValueError, ArithmeticError) as error:  # also of Decimal: sNaN, Infinity - Infinity
        raise BodyError(f"The order cannot be read: {error}") from None


def read_customer(body: bytes) -> WebhookCustomer:
    """The customer of a customers/* body. Raises BodyError."""
    rest = decode(body, RestCustomer)
    if rest.updated_at is None:
        raise BodyError("The customer cannot be read: `updated_at` is missing.")
    try:
        return webhook_customer(rest, seen_at=rest.updated_at)
    except (ValueError, ArithmeticError) as error:
        raise BodyError(f"The customer cannot be read: {error}") from None


def positive_number(value: Any, name: str) -> int:
    """Raises BodyError when the value is no number of an object."""
    if not isinstance(value, int) or value is True or not 0 < value <= gid.LARGEST:
        raise BodyError(f"The body cannot be applied: `{name}` is not an id.")
    return value


def decode(body: bytes, shape: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        raise BodyError(f"The body cannot be read: {error}") from None


def _order(rest: RestOrder) -> WebhookOrder:
    number = _number(rest.id, rest.admin_graphql_api_id, "Order")
    current = _bag(rest.current_total_price_set, rest.current_total_price, rest.currency)
    original = _bag(rest.total_price_set, rest.total_price, rest.currency)
    currency = current.shop_money.currency_code
    refunds = _refunds(rest, currency)
    refunded = _refunded(rest, currency)
    customer = rest.customer if isinstance(rest.customer, RestCustomer) else None
    known = webhook_customer(customer, seen_at=rest.created_at) if customer else None
    order = Order(
        id=gid.make("Order", number),
        name=rest.name,
        created_at=rest.created_at.astimezone(UTC),
        updated_at=rest.updated_at.astimezone(UTC),
        processed_at=(rest.processed_at or rest.created_at).astimezone(UTC),
        cancelled_at=rest.cancelled_at.astimezone(UTC) if rest.cancelled_at else None,
        current_total_price_set=current,
        total_price_set=original,
        total_refunded_set=money_bag(refunded or Decimal(0), currency),
        test=rest.test,
        email=rest.email or None,
        display_financial_status=rest.financial_status.upper() if rest.financial_status else None,
        source_name=rest.source_name,
        checkout_token=rest.checkout_token,
        discount_codes=[code.code for code in rest.discount_codes if code.code],
        customer=Reference(id=gid.make("Customer", known.customer_id)) if known else None,
        refunds=refunds or [],
    )
    lines = [] if rest.line_items is UNSET else rest.line_items
    is_partial = UNSET in (rest.line_items, rest.customer) or None in (refunds, refunded)
    naming = {
        "shop_domain": rest.shop_domain,
        "myshopify_domain": rest.myshopify_domain,
        "shop_id": rest.shop_id,
        "order_status_url": rest.order_status_url,
    }
    shown = [_line(line, rest) for line in lines]
    return WebhookOrder(number, order, shown, known, is_partial, naming)


def _line(rest: RestLine, order: RestOrder) -> OrderLine:
    price = _bag(rest.price_set, rest.price, order.currency)
    product = Reference(id=gid.make("Product", rest.product_id)) if rest.product_id else None
    current = rest.quantity if rest.current_quantity is None else rest.current_quantity
    return OrderLine(
        id=gid.make("LineItem", _number(rest.id, rest.admin_graphql_api_id, "LineItem")),
        title=rest.title,
        quantity=rest.quantity,
        current_quantity=current,
        original_unit_price_set=price,
        variant_title=rest.variant_title,
        sku=rest.sku,
        product=product,
    )


def webhook_customer(rest: RestCustomer, *, seen_at: datetime) -> WebhookCustomer:
    created_at, updated_at = rest.created_at or seen_at, rest.updated_at or LONG_AGO
    check_moment(created_at)
    check_moment(updated_at)
    check_address(rest.email)
    return WebhookCustomer(
        customer_id=_number(rest.id, rest.admin_graphql_api_id, "Customer"),
        email=plain_text(rest.email),
        first_name=plain_text(rest.first_name),
        last_name=plain_text(rest.last_name),
        phone=plain_text(rest.phone),
        created_at=created_at.astimezone(UTC),
        updated_at=updated_at.astimezone(UTC),
    )


def plain_text(value: str | None) -> str | None:
    """PostgreSQL's text holds no NUL; blank is nothing."""
    return (value or "").replace("\x00", "").strip() or None


def _number(number: int | None, api_id: str | None, kind: str) -> int:
    """The object's number; the two ways to say it must agree."""
    if number and 0 < number <= gid.LARGEST and api_id == gid.make(kind, number):
        return number
    if api_id is None:
        if number is None:
            raise ValueError(f"the {kind} has no id")
        return gid.number(gid.make(kind, number), kind)
    found = gid.number(api_id, kind)
    if number is not None and number != found:
        raise ValueError(f"the two ids of the {kind} differ: {number} and {found}")
    return found


def _bag(bag: RestMoneyBag | None, amount: Decimal | None, currency: str) -> MoneyBag:
    if bag is not None:
        return money_bag(bag.shop_money.amount, bag.shop_money.currency_code)
    if amount is None:
        raise ValueError("a total is missing")
    return money_bag(amount, currency)


def money_bag(amount: Decimal, currency: str) -> MoneyBag:
    """Raises ValueError for an amount that the tables cannot hold (NaN, 1e400, 1e-400)."""
    if not amount.is_finite() or not SMALLEST_AMOUNT <= amount.adjusted() < AMOUNT_DIGITS:
        raise ValueError(f"not an amount: {str(amount)[:40]!r}")
    return MoneyBag(shop_money=Money(amount=f"{amount:f}", currency_code=currency))


def _refunds(order: RestOrder, currency: str) -> list[Refund] | None:
    """Each refund with what was paid back, in the shop's currency; None when the body does not
    tell of each which one it is, when it was made and of how much.
    """
    found = []
    for refund in order.refunds:
        at = refund.processed_at or refund.created_at
        amount = _paid_back(refund, currency)
        has_id = refund.id is not None or refund.admin_graphql_api_id is not None
        if amount is None or at is None or not has_id:
            return None
        number = _number(refund.id, refund.admin_graphql_api_id, "Refund")
        found.append(
            Refund(
                id=gid.make("Refund", number),
                processed_at=at.astimezone(UTC),
                total_refunded_set=money_bag(amount, currency),
            )
        )
    return found


def _refunded(order: RestOrder, currency: str) -> Decimal | None:
    """The sum of what was paid back; None when the body does not tell."""
    if not order.refunds and order.financial_status in ("refunded", "partially_refunded"):
        return None
    total = Decimal(0)
    for refund in order.refunds:
        amount = _paid_back(refund, currency)
        if amount is None:
            return None
        total += amount
    return total


def _paid_back(refund: RestRefund, currency: str) -> Decimal | None:
    """None when an amount is missing, or in another currency than the shop's."""
    if refund.transactions is UNSET:
        return None
    total = Decimal(0)
    for transaction in refund.transactions:
        if transaction.kind != "refund" or transaction.status != "success":
            continue
        amount = _shop_amount(transaction, currency)
        if amount is None:
            return None
        total += amount
    return total


def _shop_amount(transaction: RestTransaction, currency: str) -> Decimal | None:
    """A transaction's plain amount may be in the buyer's currency; then only the set tells."""
    if transaction.amount_set is not None:
        return transaction.amount_set.shop_money.amount
    if transaction.currency in (None, currency):
        return transaction.amount
    return None
