"""What may stand in plain lines of each type, and their rows.

The shapes are those of core/shopify/shapes.py, but every value is text, and what must be there has
a default that no check lets through. An unknown key leaves the line to the typed decoder; a test
compares the keys with the documents, so that a field added there is not forgotten here.

The rows are written out, each in one expression, because each call would cost a tenth of a row.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from core.ingestion.copy_text import NULL
from core.ingestion.plain import CHARACTER, SHORTEST_ID, Plain, plain_table
from core.ingestion.rows import (
    CUSTOMER_COLUMNS,
    LINE_COLUMNS,
    ORDER_COLUMNS,
    PRODUCT_COLUMNS,
    REFUND_COLUMNS,
    VERSION_COLUMNS,
    array_text,
)
from core.shopify import gid
from core.shopify.shapes import LONGEST_ADDRESS

Id = Annotated[str, Meta(min_length=SHORTEST_ID)]
ABSENT: Final = "\x00"  # passes for nothing
_CUSTOMER, _LINE, _ORDER, _PRODUCT, _REFUND = (
    f"{gid.PREFIX}{kind}/" for kind in ("Customer", "LineItem", "Order", "Product", "Refund")
)
_FLAGS: Final = {True: "t", False: "f", None: ABSENT}
_FLAGS_OR_NULL: Final = {True: "t", False: "f", None: NULL}


class Loose(Struct, rename="camel", frozen=True, gc=False, forbid_unknown_fields=True):
    """A GraphQL object whose values have not been checked."""


class Amount(Loose, frozen=True):
    amount: str = ABSENT
    currency_code: str = ABSENT


class Bag(Loose, frozen=True):
    shop_money: Amount = Amount()


class Reference(Loose, frozen=True):
    id: Id = ABSENT


class Refund(Loose, frozen=True):
    id: Id = ABSENT
    processed_at: str = ABSENT
    total_refunded_set: Bag = Bag()


class OrderOrLine(Loose, frozen=True):
    """A line of a file of orders: a line item where it names a parent, else an order."""

    id: Id = ABSENT
    title: str = ABSENT
    variant_title: str | None = None
    sku: str | None = None
    quantity: int | None = None
    current_quantity: int | None = None
    product: Reference | None = None
    original_unit_price_set: Bag = Bag()
    parent_id: Id | None = field(name="__parentId", default=None)
    name: str = ABSENT
    email: str | None = None
    created_at: str = ABSENT
    updated_at: str = ABSENT
    processed_at: str = ABSENT
    cancelled_at: str | None = None
    test: bool | None = None
    display_financial_status: str | None = None
    source_name: str | None = None
    checkout_token: str | None = None
    discount_codes: Sequence[str] = ()
    currency_code: str | None = None
    current_total_price_set: Bag = Bag()
    total_price_set: Bag = Bag()
    total_refunded_set: Bag = Bag()
    refunds: Sequence[Refund] = ()
    customer: Reference | None = None


class Address(Loose, frozen=True):
    email_address: str | None = ABSENT
    marketing_state: str = ABSENT
    marketing_opt_in_level: str | None = None
    marketing_updated_at: str | None = None
    valid_format: bool | None = None


class Phone(Loose, frozen=True):
    phone_number: str | None = ABSENT


class Customer(Loose, frozen=True):
    id: Id = ABSENT
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    tags: Sequence[str] = ()
    number_of_orders: str | None = None
    amount_spent: Amount | None = None
    created_at: str = ABSENT
    updated_at: str = ABSENT
    default_email_address: Address | None = None
    default_phone_number: Phone | None = None


class Image(Loose, frozen=True):
    url: str = ABSENT


class Preview(Loose, frozen=True):
    image: Image | None = None


class Media(Loose, frozen=True):
    preview: Preview | None = None


class Product(Loose, frozen=True):
    id: Id = ABSENT
    title: str = ABSENT
    handle: str | None = None
    status: str | None = None
    vendor: str | None = None
    product_type: str | None = None
    created_at: str = ABSENT
    updated_at: str = ABSENT
    online_store_url: str | None = None
    featured_media: Media | None = None


class Version(Loose, frozen=True):
    id: Id = ABSENT
    updated_at: str = ABSENT


# Who has no address (a phone only) has nothing to subscribe.
_NO_ADDRESS: Final = Address(email_address=None, marketing_state="NOT_SUBSCRIBED")
_NO_PHONE: Final = Phone(phone_number=None)
_NO_AMOUNT: Final = Amount(amount=NULL)


def _order_rows(found: Sequence[OrderOrLine], first_number: int) -> list[str]:
    return [
        f"{of.id.removeprefix(_ORDER)}\t{of.name}\t"
        f"{NULL if of.customer is None else of.customer.id.removeprefix(_CUSTOMER)}\t"
        f"{NULL if of.email is None else of.email}\t"
        f"{of.created_at}\t{of.updated_at}\t{of.processed_at}\t"
        f"{NULL if of.cancelled_at is None else of.cancelled_at}\t{_FLAGS[of.test]}\t"
        f"{NULL if of.display_financial_status is None else of.display_financial_status}\t"
        f"{NULL if of.source_name is None else of.source_name}\t"
        f"{NULL if of.checkout_token is None else of.checkout_token}\t"
        f"{array_text(of.discount_codes) if of.discount_codes else '{}'}\t"
        f"{current.currency_code}\t{current.amount}\t"
        f"{of.total_price_set.shop_money.amount}\t"
        f"{of.total_refunded_set.shop_money.amount}\t{number}\n"
        for number, of in enumerate(found, first_number)
        if of.parent_id is None
        for current in [of.current_total_price_set.shop_money]
    ]


def _line_rows(found: Sequence[OrderOrLine], first_number: int) -> list[str]:
    return [
        f"{of.id.removeprefix(_LINE)}\t{of.parent_id.removeprefix(_ORDER)}\t{of.title}\t"
        f"{NULL if of.variant_title is None else of.variant_title}\t"
        f"{NULL if of.sku is None else of.sku}\t"
        f"{NULL if of.product is None else of.product.id.removeprefix(_PRODUCT)}\t"
        f"{of.quantity}\t{of.current_quantity}\t"
        f"{price.amount}\t{price.currency_code}\t{number}\n"
        for number, of in enumerate(found, first_number)
        if of.parent_id is not None
        for price in [of.original_unit_price_set.shop_money]
    ]


def _refund_rows(found: Sequence[OrderOrLine], first_number: int) -> list[str]:
    return [
        f"{refund.id.removeprefix(_REFUND)}\t{of.id.removeprefix(_ORDER)}\t"
        f"{refund.processed_at}\t{refund.total_refunded_set.shop_money.amount}\t"
        f"{refund.total_refunded_set.shop_money.currency_code}\t{number}\n"
        for number, of in enumerate(found, first_number)
        if of.refunds and of.parent_id is None
        for refund in of.refunds
    ]


def _customer_rows(found: Sequence[Customer], first_number: int) -> list[str]:
    return [
        f"{of.id.removeprefix(_CUSTOMER)}\t"
        f"{NULL if address.email_address is None else address.email_address}\t"
        f"{NULL if of.first_name is None else of.first_name}\t"
        f"{NULL if of.last_name is None else of.last_name}\t"
        f"{NULL if phone.phone_number is None else phone.phone_number}\t"
        f"{NULL if of.locale is None else of.locale}\t"
        f"{array_text(of.tags) if of.tags else '{}'}\t{address.marketing_state}\t"
        f"{_or_null(address.marketing_opt_in_level)}\t"
        f"{_or_null(address.marketing_updated_at)}\t{_FLAGS_OR_NULL[address.valid_format]}\t"
        f"{_or_null(of.number_of_orders)}\t{(of.amount_spent or _NO_AMOUNT).amount}\t"
        f"{of.created_at}\t{of.updated_at}\t{number}\n"
        for number, of in enumerate(found, first_number)
        for address in (of.default_email_address or _NO_ADDRESS,)
        for phone in (of.default_phone_number or _NO_PHONE,)
    ]


def _product_rows(found: Sequence[Product], first_number: int) -> list[str]:
    return [
        f"{of.id.removeprefix(_PRODUCT)}\t{of.title}\t{_or_null(of.handle)}\t"
        f"{_or_null(of.status)}\t{_or_null(of.vendor)}\t{_or_null(of.product_type)}\t"
        f"{_picture(of.featured_media)}\t{_or_null(of.online_store_url)}\t"
        f"{of.created_at}\t{of.updated_at}\t{number}\n"
        for number, of in enumerate(found, first_number)
    ]


def _or_null(text: str | None) -> str:
    return NULL if text is None else text


def _picture(media: Media | None) -> str:
    preview = media.preview if media else None
    return preview.image.url if preview and preview.image else NULL


def _decoder(shape: Any) -> Any:
    return msgspec.json.Decoder(shape).decode_lines


CUSTOMERS: Final = Plain(
    _decoder(Customer),
    [
        plain_table(
            _customer_rows,
            CUSTOMER_COLUMNS,
            optional={
                *("email", "first_name", "last_name", "phone", "locale", "consent_level"),
                *("consent_updated_at", "has_valid_email", "reported_order_count"),
                "reported_total_spent",
            },
            email=rf"{CHARACTER}{{0,{LONGEST_ADDRESS}}}+",
            reported_order_count="[0-9]{1,9}+",
        )
    ],
)
ORDERS: Final = Plain(
    _decoder(OrderOrLine),
    [
        plain_table(
            _order_rows,
            ORDER_COLUMNS,
            optional={
                *("customer_id", "email", "cancelled_at", "financial_status", "source_name"),
                "checkout_token",
            },
        ),
        plain_table(_line_rows, LINE_COLUMNS, optional={"variant_title", "sku", "product_id"}),
        plain_table(_refund_rows, REFUND_COLUMNS),
    ],
    roots=2,
)
PRODUCTS: Final = Plain(
    _decoder(Product),
    [
        plain_table(
            _product_rows,
            PRODUCT_COLUMNS,
            optional={
                *("handle", "status", "vendor", "product_type", "image_url", "store_url"),
            },
        )
    ],
)


def versions_of(kind: str) -> Plain:
    """Of a comparison."""
    prefix = f"{gid.PREFIX}{kind}/"

    def rows(found: Sequence[Version], first_number: int) -> list[str]:
        return [
            f"{of.id.removeprefix(prefix)}\t{of.updated_at}\t{number}\n"
            for number, of in enumerate(found, first_number)
        ]

    return Plain(_decoder(Version), [plain_table(rows, VERSION_COLUMNS)])
