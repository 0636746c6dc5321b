"""Objects of Shopify as rows of text, for COPY and for statements alike.

A row is a tuple of PostgreSQL's text input or None, in the order of the column lists here.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from core.ingestion.checkout_key import checkout_key
from core.shopify import gid
from core.shopify.shapes import (
    Checkout,
    CheckoutLine,
    Customer,
    Order,
    OrderLine,
    Product,
    check_moment,
    reference_number,
)

Row = tuple[str | None, ...]
Columns = Sequence[tuple[str, str]]

CUSTOMER_COLUMNS: Final[Columns] = (
    ("customer_id", "bigint"),
    ("email", "text"),
    ("first_name", "text"),
    ("last_name", "text"),
    ("phone", "text"),
    ("locale", "text"),
    ("tags", "text[]"),
    ("consent_state", "text"),
    ("consent_level", "text"),
    ("consent_updated_at", "timestamptz"),
    ("has_valid_email", "boolean"),
    ("reported_order_count", "integer"),
    ("reported_total_spent", "numeric(20,4)"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
)
ORDER_COLUMNS: Final[Columns] = (
    ("order_id", "bigint"),
    ("name", "text"),
    ("customer_id", "bigint"),
    ("email", "text"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
    ("processed_at", "timestamptz"),
    ("cancelled_at", "timestamptz"),
    ("is_test", "boolean"),
    ("financial_status", "text"),
    ("source_name", "text"),
    ("checkout_token", "text"),
    ("discount_codes", "text[]"),
    ("currency", "text"),
    ("current_total", "numeric(20,4)"),
    ("original_total", "numeric(20,4)"),
    ("refunded_total", "numeric(20,4)"),
)
LINE_COLUMNS: Final[Columns] = (
    ("line_id", "bigint"),
    ("order_id", "bigint"),
    ("title", "text"),
    ("variant_title", "text"),
    ("sku", "text"),
    ("product_id", "bigint"),
    ("quantity", "integer"),
    ("current_quantity", "integer"),
    ("unit_price", "numeric(20,4)"),
    ("currency", "text"),
)
REFUND_COLUMNS: Final[Columns] = (
    ("refund_id", "bigint"),
    ("order_id", "bigint"),
    ("processed_at", "timestamptz"),
    ("amount", "numeric(20,4)"),
    ("currency", "text"),
)
CHECKOUT_COLUMNS: Final[Columns] = (
    ("checkout_key", "text"),
    ("checkout_id", "bigint"),
    ("name", "text"),
    ("customer_id", "bigint"),
    ("email", "text"),
    ("recovery_url", "text"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
    ("completed_at", "timestamptz"),
    ("currency", "text"),
    ("total", "numeric(20,4)"),
    ("subtotal", "numeric(20,4)"),
    ("discount_codes", "text[]"),
)
CHECKOUT_LINE_COLUMNS: Final[Columns] = (
    ("line_key", "text"),
    ("checkout_id", "bigint"),
    ("title", "text"),
    ("variant_title", "text"),
    ("sku", "text"),
    ("product_id", "bigint"),
    ("quantity", "integer"),
    ("unit_price", "text"),
)
PRODUCT_COLUMNS: Final[Columns] = (
    ("product_id", "bigint"),
    ("title", "text"),
    ("handle", "text"),
    ("status", "text"),
    ("vendor", "text"),
    ("product_type", "text"),
    ("image_url", "text"),
    ("store_url", "text"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
)
VERSION_COLUMNS: Final[Columns] = (
    ("object_id", "bigint"),
    ("updated_at", "timestamptz"),
)


def customer_row(customer: Customer) -> Row:
    """Raises ValueError when an id is not one.

    A customer without an email address (phone only) has nothing to subscribe: NOT_SUBSCRIBED, so
    that NULL keeps its one meaning, "not told yet".
    """
    address, phone = customer.default_email_address, customer.default_phone_number
    return (
        str(gid.number(customer.id, "Customer")),
        address.email_address if address else None,
        customer.first_name,
        customer.last_name,
        phone.phone_number if phone else None,
        customer.locale,
        array_text(customer.tags),
        address.marketing_state if address else "NOT_SUBSCRIBED",
        address.marketing_opt_in_level if address else None,
        moment_text(address.marketing_updated_at) if address else None,
        flag_text(address.valid_format) if address else None,
        customer.number_of_orders,
        customer.amount_spent.amount if customer.amount_spent else None,
        moment_text(customer.created_at),
        moment_text(customer.updated_at),
    )


def order_row(order: Order) -> Row:
    """Raises ValueError when an id is not one."""
    customer_id = reference_number(order.customer, "Customer")
    current = order.current_total_price_set.shop_money
    return (
        str(gid.number(order.id, "Order")),
        order.name,
        None if customer_id is None else str(customer_id),
        order.email,
        moment_text(order.created_at),
        moment_text(order.updated_at),
        moment_text(order.processed_at),
        moment_text(order.cancelled_at),
        flag_text(order.test),
        order.display_financial_status,
        order.source_name,
        order.checkout_token,
        array_text(order.discount_codes),
        current.currency_code,
        current.amount,
        order.total_price_set.shop_money.amount,
        order.total_refunded_set.shop_money.amount,
    )


def line_row(line: OrderLine, order_id: int) -> Row:
    """Raises ValueError when an id is not one."""
    product_id = reference_number(line.product, "Product")
    price = line.original_unit_price_set.shop_money
    return (
        str(gid.number(line.id, "LineItem")),
        str(order_id),
        line.title,
        line.variant_title,
        line.sku,
        None if product_id is None else str(product_id),
        str(line.quantity),
        str(line.current_quantity),
        price.amount,
        price.currency_code,
    )


def refund_rows(order: Order) -> list[Row]:
    """One row for each refund of the order. Raises ValueError when an id is not one."""
    order_id = str(gid.number(order.id, "Order"))
    return [
        (
            str(gid.number(refund.id, "Refund")),
            order_id,
            moment_text(refund.processed_at),
            refund.total_refunded_set.shop_money.amount,
            refund.total_refunded_set.shop_money.currency_code,
        )
        for refund in order.refunds
    ]


def checkout_row(checkout: Checkout) -> Row:
    """Under its own id where the recovery address has no token. Raises ValueError."""
    number = gid.number(checkout.id, "AbandonedCheckout")
    buyer, total = checkout.customer, checkout.total_price_set.shop_money
    contact = buyer.default_email_address if buyer else None
    subtotal = checkout.subtotal_price_set
    url = checkout.abandoned_checkout_url
    return (
        checkout_key(url, token=f"AbandonedCheckout/{number}"),
        str(number),
        checkout.name,
        str(gid.number(buyer.id, "Customer")) if buyer else None,
        contact.email_address if contact else None,
        url,
        moment_text(checkout.created_at),
        moment_text(checkout.updated_at),
        moment_text(checkout.completed_at),
        total.currency_code,
        total.amount,
        subtotal.shop_money.amount if subtotal else None,
        array_text(checkout.discount_codes),
    )


def checkout_line_row(line: CheckoutLine, checkout_id: int) -> Row:
    """Raises ValueError when an id is not one. The line's own id is text: only its type is sure."""
    head, _, key = line.id.partition("/AbandonedCheckoutLineItem/")
    if head != "gid://shopify" or not key:
        raise ValueError(f"not the id of a checkout's line: {line.id[:80]!r}")
    product_id = reference_number(line.product, "Product")
    return (
        key,
        str(checkout_id),
        line.title,
        line.variant_title,
        line.sku,
        None if product_id is None else str(product_id),
        str(line.quantity),
        line.original_unit_price_set.shop_money.amount,
    )


def product_row(product: Product) -> Row:
    """Raises ValueError when the id is not one."""
    preview = product.featured_media.preview if product.featured_media else None
    return (
        str(gid.number(product.id, "Product")),
        product.title,
        product.handle,
        product.status,
        product.vendor,
        product.product_type,
        preview.image.url if preview and preview.image else None,
        product.online_store_url,
        moment_text(product.created_at),
        moment_text(product.updated_at),
    )


def moment_text(moment: datetime | None) -> str | None:
    """In UTC: PostgreSQL reads no offset beyond 15:59. Raises ValueError for an absurd year."""
    if moment is None:
        return None
    check_moment(moment)
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()


def flag_text(flag: bool | None) -> str | None:  # noqa: FBT001 - the value itself
    return None if flag is None else ("t" if flag else "f")


def array_text(values: Sequence[str]) -> str:
    r"""A text array's input: {"a","b \"c\""}."""
    if not values:
        return "{}"
    inside = '","'.join(value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return f'{{"{inside}"}}'


def records(rows: Iterable[Row], columns: Columns) -> str:
    """The rows as JSON for jsonb_to_recordset."""
    names = [name for name, _ in columns]
    return msgspec.json.encode(
        [dict(zip(names, _clean_row(row), strict=True)) for row in rows]
    ).decode()


def _clean_row(row: Row) -> Iterable[str | None]:
    """Nearly every row needs nothing: looked at as one text first."""
    return row if "".join(filter(None, row)).isprintable() else map(_clean, row)


def _clean(value: str | None) -> str | None:
    """Without NUL; half a surrogate pair, which an answer of Shopify's may spell, becomes `?`."""
    if value is None or value.isprintable():
        return value
    return value.replace("\x00", "").encode(errors="replace").decode()


def recordset(parameter: str, alias: str, columns: Columns) -> str:
    """The relation that reads back `records` from the bind parameter `parameter`."""
    typed = ", ".join(f"{name} {kind}" for name, kind in columns)
    return f"jsonb_to_recordset(CAST(:{parameter} AS jsonb)) AS {alias} ({typed})"
