"""Webhook bodies (REST shapes), orders straight into the rows of core/shopify/told.py.

Statuses become upper case, the shop's offset becomes UTC, amounts come from `*_set.shop_money`.
What a body leaves out stays unknown: an order without its lines, its customer or readable refunds
is `partial`, and has to be read from Shopify instead.
"""

import re
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
    check_address,
    check_moment,
)
from core.shopify.told import LineTold, OrderTold, RefundTold

Decoded = TypeVar("Decoded")

# Customers in orders may come without times; then whatever else we hear is newer.
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
NOTHING: Final = Decimal(0)
SMALLEST_AMOUNT: Final = -30  # as a power of ten; spelled out, 1e-999999999 is a gigabyte of zeros
LONGEST_AMOUNT: Final = 1 + AMOUNT_DIGITS + 1 + 30  # characters: sign, digits, point, decimals

# The only way a NUL gets into JSON, unless the backslash is itself written with one.
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

UNREADABLE: Final = (ValueError, RecursionError)  # msgspec's errors are ValueErrors


class BodyError(ValueError):
    """The body cannot be read or applied; the text says why, for the person who looks at it."""


class RestMoney(Struct, frozen=True, gc=False):
    amount: Decimal
    currency_code: str


class RestMoneyBag(Struct, frozen=True, gc=False):
    shop_money: RestMoney


class RestTransaction(Struct, frozen=True, gc=False):
    kind: str | None = None
    status: str | None = None
    amount: Decimal | None = None
    amount_set: RestMoneyBag | None = None
    currency: str | None = None


class RestRefund(Struct, frozen=True, gc=False):
    id: int | None = None
    admin_graphql_api_id: str | None = None
    created_at: Moment | None = None
    processed_at: Moment | None = None
    transactions: list[RestTransaction] | UnsetType = UNSET


class RestCode(Struct, frozen=True, gc=False):
    code: str | None = None


class RestLine(Struct, frozen=True, gc=False):
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


class RestCustomer(Struct, frozen=True, gc=False):
    id: int | None = None
    admin_graphql_api_id: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None


class RestOrder(Struct, frozen=True, gc=False):
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


class WebhookCustomer(Struct, frozen=True, gc=False):
    """What a webhook tells of a customer."""

    customer_id: int
    email: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    created_at: datetime
    updated_at: datetime


class WebhookOrder(Struct, frozen=True, gc=False):
    """An order as rows, and what the body told of its customer."""

    order: OrderTold
    lines: list[LineTold]
    refunds: list[RefundTold]
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
    if b"\\u0000" in body:  # which PostgreSQL's text does not hold
        body = _NUL.sub(rb"\1", body)
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
    current, currency = _shop_money(rest.current_total_price_set, rest.current_total_price, rest)
    original, _ = _shop_money(rest.total_price_set, rest.total_price, rest)
    refunds, refunded = _refunds(rest, number, currency), _refunded(rest, currency)
    customer = rest.customer if isinstance(rest.customer, RestCustomer) else None
    known = webhook_customer(customer, seen_at=rest.created_at) if customer else None
    created_at, cancelled_at = in_utc(rest.created_at), rest.cancelled_at
    order = OrderTold(
        number,
        rest.name,
        known.customer_id if known else None,
        rest.email or None,
        created_at,
        in_utc(rest.updated_at),
        in_utc(rest.processed_at) if rest.processed_at else created_at,
        in_utc(cancelled_at) if cancelled_at else None,
        rest.test,
        rest.financial_status.upper() if rest.financial_status else None,
        rest.source_name,
        rest.checkout_token,
        [code.code for code in rest.discount_codes if code.code],
        currency,
        current,
        original,
        checked(refunded or NOTHING),
    )
    lines = [] if rest.line_items is UNSET else rest.line_items
    is_partial = (
        rest.line_items is UNSET or rest.customer is UNSET or refunds is None or refunded is None
    )
    naming = {
        "shop_domain": rest.shop_domain,
        "myshopify_domain": rest.myshopify_domain,
        "shop_id": rest.shop_id,
        "order_status_url": rest.order_status_url,
    }
    shown = [_line(line, rest, number) for line in lines]
    return WebhookOrder(order, shown, refunds or [], known, is_partial, naming)


def _line(rest: RestLine, order: RestOrder, order_id: int) -> LineTold:
    price, currency = _shop_money(rest.price_set, rest.price, order)
    product_id = rest.product_id
    if product_id and not 0 < product_id <= gid.LARGEST:
        raise ValueError(f"not the id of a product: {product_id}")
    return LineTold(
        _number(rest.id, rest.admin_graphql_api_id, "LineItem"),
        order_id,
        rest.title,
        rest.variant_title,
        rest.sku,
        product_id or None,
        rest.quantity,
        rest.quantity if rest.current_quantity is None else rest.current_quantity,
        price,
        currency,
    )


def in_utc(moment: datetime) -> datetime:
    """PostgreSQL reads no offset beyond 15:59. Raises ValueError for an absurd year."""
    check_moment(moment)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def webhook_customer(rest: RestCustomer, *, seen_at: datetime) -> WebhookCustomer:
    created_at, updated_at = rest.created_at or seen_at, rest.updated_at or LONG_AGO
    check_address(rest.email)
    return WebhookCustomer(
        customer_id=_number(rest.id, rest.admin_graphql_api_id, "Customer"),
        email=plain_text(rest.email),
        first_name=plain_text(rest.first_name),
        last_name=plain_text(rest.last_name),
        phone=plain_text(rest.phone),
        created_at=in_utc(created_at),
        updated_at=in_utc(updated_at),
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


def _shop_money(
    bag: RestMoneyBag | None, amount: Decimal | None, order: RestOrder
) -> tuple[Decimal, str]:
    if bag is not None:
        return checked(bag.shop_money.amount), bag.shop_money.currency_code
    if amount is None:
        raise ValueError("a total is missing")
    return checked(amount), order.currency


def money_bag(amount: Decimal, currency: str) -> MoneyBag:
    """Raises ValueError for an amount that the tables cannot hold."""
    return MoneyBag(shop_money=Money(amount=f"{checked(amount):f}", currency_code=currency))


def checked(amount: Decimal) -> Decimal:
    """Raises ValueError for an amount that the tables cannot hold (NaN, 1e400, 1e-400), or that is
    spelled out longer than any is.
    """
    is_held = amount.is_finite() and SMALLEST_AMOUNT <= amount.adjusted() < AMOUNT_DIGITS
    if not is_held or len(str(amount)) > LONGEST_AMOUNT:
        raise ValueError(f"not an amount: {str(amount)[:40]!r}")
    return amount


def _refunds(order: RestOrder, order_id: int, currency: str) -> list[RefundTold] | None:
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
        found.append(RefundTold(number, order_id, in_utc(at), checked(amount), currency))
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
