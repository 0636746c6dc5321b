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

# Sixteen digits before the point is what NUMERIC(20, 4) holds.
_AMOUNT: Final = re.compile(r"-?\d{1,16}(\.\d{1,30})?")

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


def reference_number(reference: Reference | None, kind: str) -> int | None:
    return gid.number(reference.id, kind) if reference else None
