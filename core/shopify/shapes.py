"""The objects our GraphQL documents answer, decoded strictly (msgspec).

One shape for bulk lines, `nodes(ids:)` and, normalised by core/shopify/rest.py, webhooks. What
decodes here can be stored: amounts, times and ids are checked, so that one bad object never fails
the load of a million good ones.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from core.shopify import gid

Moment = Annotated[datetime, Meta(tz=True)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]

# NUMERIC(20, 4) holds sixteen digits before the point; of thirteen, a customer's sum of a thousand
# orders still fits, and rounding up never needs one more.
AMOUNT_DIGITS: Final = 13
_AMOUNT: Final = re.compile(rf"-?[0-9]{{1,{AMOUNT_DIGITS}}}(\.[0-9]{{1,30}})?")

# Shopify's count is an unsigned 64-bit number as text; a customer with a billion orders is none.
_COUNT: Final = re.compile(r"[0-9]{1,9}")

# RFC 5321: 64 before the @, 255 after. An index cannot hold much more.
LONGEST_ADDRESS: Final = 320
EARLIEST_YEAR: Final = 1000
LATEST_YEAR: Final = 9998

MarketingState = Literal[
    "SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING", "UNSUBSCRIBED", "INVALID", "REDACTED"
]


class Node(Struct, rename="camel", gc=False):
    """A GraphQL object; keys we did not select are ignored."""


class Money(Node):
    """An amount as decimal text, never a float."""

    amount: str
    currency_code: str

    def __post_init__(self) -> None:
        check_amount(self.amount)


class MoneyBag(Node):
    shop_money: Money


class Reference(Node):
    id: str


class EmailAddress(Node):
    email_address: str | None
    marketing_state: MarketingState
    marketing_opt_in_level: str | None = None
    marketing_updated_at: Moment | None = None
    valid_format: bool | None = None

    def __post_init__(self) -> None:
        check_address(self.email_address)


class ContactAddress(Node):
    """An address without the consent to write to it."""

    email_address: str | None

    def __post_init__(self) -> None:
        check_address(self.email_address)


class PhoneNumber(Node):
    phone_number: str | None


class Customer(Node):
    id: str
    created_at: Moment
    updated_at: Moment
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    tags: list[str] = field(default_factory=list)
    default_email_address: EmailAddress | None = None
    default_phone_number: PhoneNumber | None = None
    number_of_orders: str | None = None
    amount_spent: Money | None = None

    def __post_init__(self) -> None:
        if self.number_of_orders is not None and not _COUNT.fullmatch(self.number_of_orders):
            raise ValueError(f"not a count: {self.number_of_orders[:40]!r}")


class Refund(Node):
    """Money that went back; `total_refunded_set` over all its transactions."""

    id: str
    processed_at: Moment
    total_refunded_set: MoneyBag


class Order(Node):
    id: str
    name: str
    created_at: Moment
    updated_at: Moment
    processed_at: Moment
    current_total_price_set: MoneyBag
    total_price_set: MoneyBag
    total_refunded_set: MoneyBag
    test: bool
    email: str | None = None
    cancelled_at: Moment | None = None
    display_financial_status: str | None = None
    source_name: str | None = None
    checkout_token: str | None = None
    discount_codes: list[str] = field(default_factory=list)
    customer: Reference | None = None
    refunds: list[Refund] = field(default_factory=list)


class OrderLine(Node):
    """A line item; in a bulk file `parent_id` names its order."""

    id: str
    title: str
    quantity: Int32
    current_quantity: Int32
    original_unit_price_set: MoneyBag
    variant_title: str | None = None
    sku: str | None = None
    product: Reference | None = None
    parent_id: str | None = field(name="__parentId", default=None)


class CheckoutCustomer(Node):
    """The buyer as a checkout names them: its only address in GraphQL."""

    id: str
    default_email_address: ContactAddress | None = None


class Checkout(Node):
    id: str
    created_at: Moment
    updated_at: Moment
    total_price_set: MoneyBag
    name: str | None = None
    completed_at: Moment | None = None
    abandoned_checkout_url: str | None = None
    discount_codes: list[str] = field(default_factory=list)
    subtotal_price_set: MoneyBag | None = None
    customer: CheckoutCustomer | None = None


class CheckoutLine(Node):
    """A line of a checkout; `parent_id` names its checkout. Its id need not end in a number."""

    id: str
    title: str | None
    quantity: Int32
    original_unit_price_set: MoneyBag
    variant_title: str | None = None
    sku: str | None = None
    product: Reference | None = None
    parent_id: str | None = field(name="__parentId", default=None)


class Image(Node):
    url: str


class Preview(Node):
    image: Image | None = None


class Media(Node):
    preview: Preview | None = None


class Product(Node):
    id: str
    title: str
    created_at: Moment
    updated_at: Moment
    handle: str | None = None
    status: str | None = None
    vendor: str | None = None
    product_type: str | None = None
    online_store_url: str | None = None
    featured_media: Media | None = None


class Version(Node):
    """What is compared of an object: which state of it Shopify holds."""

    id: str
    updated_at: Moment


class PageInfo(Node):
    has_next_page: bool
    end_cursor: str | None = None


class OrderLinePage(Node):
    nodes: list[OrderLine]
    page_info: PageInfo


class OrderWithLines(Order, kw_only=True):
    """An order as `nodes(ids:)` answers it: with its first page of lines."""

    line_items: OrderLinePage


class Head(Node):
    """What tells a bulk line's type."""

    id: str


@lru_cache(maxsize=8192)  # a shop has few prices, and many lines
def check_amount(text: str) -> None:
    """Raises ValueError unless `text` is a decimal that the tables hold."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"not an amount: {text[:40]!r}")


def check_address(text: str | None) -> None:
    """Raises ValueError for an address longer than any can be."""
    if text is not None and len(text) > LONGEST_ADDRESS:
        raise ValueError(f"not an email address: {len(text)} characters")


def check_moment(moment: datetime) -> None:
    """Raises ValueError at the ends of Python's calendar, where another offset falls off it."""
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError(f"not a time we can keep: the year {moment.year}")


def reference_number(reference: Reference | None, kind: str) -> int | None:
    return gid.number(reference.id, kind) if reference else None
