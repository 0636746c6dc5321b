"""Facts for the letters of one batch, each kind read for all of them in one query."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.rendering.brand import https_url
from activation.rendering.context import CustomerFacts, ItemFacts, PurchaseFacts
from activation.rendering.text import greeting_name, one_line
from core.arrays import array_text

MAX_ITEMS: Final = 8
MAX_TITLE: Final = 120
IMAGE_PIXELS: Final = 144  # twice as many as it is wide on the page, for sharp screens
SHOPIFY_IMAGES: Final = "cdn.shopify.com"
SYMBOLS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}
WHOLE: Final = frozenset({"JPY", "KRW", "VND", "CLP", "ISK", "XAF", "XOF", "XPF", "UGX", "PYG"})

READ_ORDERS = text("""
-- Returns one row per line of these orders that is still part of them, in the order of the lines,
-- up to a number per order, with the number of all. Changes nothing.
-- Indexes ix_order_lines__order, pk_products.
SELECT
    numbered.*,
    products.image_url,
    products.store_url
FROM (
    SELECT
        orders.order_id,
        orders.name,
        lines.title,
        lines.variant_title,
        lines.product_id,
        lines.current_quantity AS quantity,
        CAST(lines.unit_price AS text) AS unit_price,
        lines.currency,
        row_number() OVER (PARTITION BY orders.order_id ORDER BY lines.line_id) AS line_number,
        count(lines.line_id) OVER (PARTITION BY orders.order_id) AS line_count
    FROM raw_shopify.orders
    LEFT JOIN raw_shopify.order_lines AS lines
        ON
            orders.shop_id = lines.shop_id
            AND orders.order_id = lines.order_id
            AND lines.current_quantity > 0
    WHERE
        orders.shop_id = :shop_id
        AND orders.order_id = ANY(CAST(:order_ids AS bigint []))
) AS numbered
LEFT JOIN raw_shopify.products
    ON products.shop_id = :shop_id AND products.product_id = numbered.product_id
WHERE numbered.line_number <= :max_items
ORDER BY numbered.order_id, numbered.line_number
""")

READ_CARTS = text("""
-- Returns one row per line of the checkout behind each of these messages, in the cart's order, up
-- to a number per cart, with the number of all. An enrollment's entry key is the checkout's.
-- Changes nothing. Indexes pk_messages, pk_checkouts, ix_checkouts__token, pk_products.
SELECT
    messages.message_id,
    cart.recovery_url,
    cart.currency,
    coalesce(cart.subtotal, cart.total) AS total,
    line.item ->> 'title' AS title,
    line.item ->> 'variant_title' AS variant_title,
    CAST(line.item ->> 'quantity' AS integer) AS quantity,
    line.item ->> 'unit_price' AS unit_price,
    jsonb_array_length(cart.line_items) AS line_count,
    products.image_url,
    products.store_url
FROM crm.messages
INNER JOIN crm.enrollments
    ON
        messages.shop_id = enrollments.shop_id
        AND messages.enrollment_id = enrollments.enrollment_id
CROSS JOIN LATERAL (
    SELECT
        checkouts.recovery_url,
        checkouts.currency,
        checkouts.subtotal,
        checkouts.total,
        checkouts.line_items
    FROM raw_shopify.checkouts
    WHERE
        checkouts.shop_id = :shop_id
        AND (
            checkouts.checkout_key = enrollments.entry_key
            OR checkouts.token = enrollments.entry_key
        )
        AND checkouts.deleted_at IS NULL
    ORDER BY checkouts.updated_at DESC, checkouts.checkout_key
    LIMIT 1
) AS cart
LEFT JOIN LATERAL jsonb_array_elements(cart.line_items) WITH ORDINALITY AS line (item, line_number)
    ON line.line_number <= :max_items
LEFT JOIN raw_shopify.products
    ON
        products.shop_id = :shop_id
        AND products.product_id = CAST(line.item ->> 'product_id' AS bigint)
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = ANY(CAST(:message_ids AS bigint []))
ORDER BY messages.message_id, line.line_number
""")

READ_FIRST_NAMES = text("""
-- Returns the first names of these customers. Changes nothing. Primary key.
SELECT customer_id, first_name
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:customer_ids AS bigint []))
""")


def load_customers(
    session: Session, shop_id: int, customer_ids: Sequence[int]
) -> dict[int, CustomerFacts]:
    """Whom to greet, by customer id."""
    rows = session.execute(
        READ_FIRST_NAMES, {"shop_id": shop_id, "customer_ids": array_text(customer_ids)}
    )
    return {row.customer_id: _customer(row.first_name) for row in rows.all()}


def load_orders(
    session: Session, shop_id: int, order_ids: Sequence[int]
) -> dict[int, PurchaseFacts]:
    """What was ordered, by order id."""
    if not order_ids:
        return {}
    rows = session.execute(
        READ_ORDERS,
        {"shop_id": shop_id, "order_ids": array_text(order_ids), "max_items": MAX_ITEMS},
    )
    return {
        order_id: _purchase(lines, name=one_line(lines[0].name, limit=40))
        for order_id, lines in _grouped(rows, "order_id").items()
    }


def load_carts(
    session: Session, shop_id: int, message_ids: Sequence[int]
) -> dict[int, PurchaseFacts]:
    """What was left in the cart, by message id; no entry where the checkout is gone."""
    if not message_ids:
        return {}
    rows = session.execute(
        READ_CARTS,
        {"shop_id": shop_id, "message_ids": array_text(message_ids), "max_items": MAX_ITEMS},
    )
    return {
        message_id: _purchase(
            lines,
            total=amount(lines[0].total, lines[0].currency),
            url=https_url(lines[0].recovery_url),
        )
        for message_id, lines in _grouped(rows, "message_id").items()
    }


def amount(value: Decimal, currency: str) -> str:
    """`€1,234.50`, `1,234.50 CHF`, `¥1,235`."""
    figure = f"{value:,.0f}" if currency in WHOLE else f"{value:,.2f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{figure}" if symbol else f"{figure} {currency}"


def image_url(url: str | None) -> str:
    """Small where Shopify serves it: an original has megabytes."""
    url = https_url(url)
    if not url or urlsplit(url).hostname != SHOPIFY_IMAGES:
        return url
    return f"{url}{'&' if '?' in url else '?'}width={IMAGE_PIXELS}"


def _grouped(rows: Any, key: str) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for row in rows.all():
        groups.setdefault(getattr(row, key), []).append(row)
    return groups


def _purchase(
    lines: Sequence[Any], *, name: str = "", total: str = "", url: str = ""
) -> PurchaseFacts:
    items = tuple(_item(line) for line in lines if line.title is not None)
    return PurchaseFacts(
        name=name,
        items=items,
        more_items=max(0, lines[0].line_count - len(lines)) if items else 0,
        total=total,
        url=url,
    )


def _item(line: Any) -> ItemFacts:
    return _item_of(
        line.title,
        line.variant_title or "",
        line.quantity or 1,
        line.unit_price,
        line.currency,
        line.image_url,
        line.store_url,
    )


@lru_cache(maxsize=2048)  # customers of one shop buy the same things
def _item_of(  # noqa: PLR0917
    title: str,
    variant_title: str,
    quantity: int,
    unit_price: str | None,
    currency: str,
    image: str | None,
    store_url: str | None,
) -> ItemFacts:
    variant = one_line(variant_title, limit=MAX_TITLE)
    return ItemFacts(
        title=one_line(title, limit=MAX_TITLE),
        variant="" if variant == "Default Title" else variant,
        quantity=quantity,
        price=_price(unit_price, quantity, currency),
        image_url=image_url(image),
        url=https_url(store_url),
    )


@lru_cache(maxsize=4096)
def _customer(first_name: str | None) -> CustomerFacts:
    return CustomerFacts(greeting_name(first_name))


def _price(unit_price: str | None, quantity: int, currency: str) -> str:
    """Empty where Shopify named none."""
    try:
        return "" if unit_price is None else amount(Decimal(unit_price) * quantity, currency)
    except InvalidOperation:
        return ""
