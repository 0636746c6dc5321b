"""What a template may say: plain dictionaries, built from typed rows."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final, TypedDict

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.rendering.text import greeting_name, one_line
from core.models import Shop

MAX_LINES: Final = 8
MAX_TITLE: Final = 120
MAX_ADDRESS: Final = 300
COLOR: Final = re.compile("#[0-9a-fA-F]{6}")
DEFAULT_ACCENT: Final = "#2f5d50"

READ_ORDERS = text("""
-- Returns one row per line of these orders that is still part of them, in the order of the lines,
-- up to a number per order, with the number of all. Changes nothing. Index ix_order_lines__order.
SELECT *
FROM (
    SELECT
        orders.order_id,
        orders.name,
        lines.title,
        lines.variant_title,
        lines.current_quantity,
        lines.unit_price,
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
WHERE numbered.line_number <= :max_lines
ORDER BY numbered.order_id, numbered.line_number
""")

READ_FIRST_NAMES = text("""
-- Returns the first names of these customers. Changes nothing. Primary key.
SELECT customer_id, first_name
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:customer_ids AS bigint []))
""")


class MailContext(TypedDict):
    """All that a template sees."""

    shop: dict[str, Any]
    customer: dict[str, Any]
    order: dict[str, Any]
    unsubscribe_url: str


@dataclass(frozen=True)
class ShopFacts:
    """`accent` is `#rrggbb`, `accent_text` readable on it; the address is one line."""

    name: str
    url: str
    postal_address: str
    accent: str
    accent_text: str


@dataclass(frozen=True)
class LineFacts:
    title: str
    variant: str
    quantity: int
    price: str


@dataclass(frozen=True)
class OrderFacts:
    """`more_lines`: how many are not listed."""

    name: str = ""
    lines: tuple[LineFacts, ...] = ()
    more_lines: int = 0


@dataclass(frozen=True)
class CustomerFacts:
    first_name: str = ""


def shop_facts(shop: Shop) -> ShopFacts:
    accent = shop.accent_color if COLOR.fullmatch(shop.accent_color) else DEFAULT_ACCENT
    return ShopFacts(
        name=one_line(shop.name, limit=80),
        url=f"https://{shop.domain}",
        postal_address=one_line(
            ", ".join((shop.postal_address or "").strip().splitlines()), limit=MAX_ADDRESS
        ),
        accent=accent,
        accent_text=readable_on(accent),
    )


def readable_on(color: str) -> str:
    """White or near-black, whichever contrasts more with `#rrggbb` (WCAG relative luminance)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4  # noqa: PLR2004
        for value in channels
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    white_contrast = 1.05 / (luminance + 0.05)
    black_contrast = (luminance + 0.05) / 0.05
    return "#ffffff" if white_contrast >= black_contrast else "#1a1a1a"


def load_orders(session: Session, shop_id: int, order_ids: Sequence[int]) -> dict[int, OrderFacts]:
    """What was ordered, by order id, in one query."""
    rows = session.execute(
        READ_ORDERS,
        {"shop_id": shop_id, "order_ids": list(order_ids), "max_lines": MAX_LINES},
    )
    orders: dict[int, OrderFacts] = {}
    for row in rows:
        known = orders.get(row.order_id, OrderFacts(name=one_line(row.name, limit=40)))
        lines = known.lines if row.title is None else (*known.lines, _line(row))
        orders[row.order_id] = OrderFacts(
            name=known.name, lines=lines, more_lines=row.line_count - len(lines)
        )
    return orders


def load_customers(
    session: Session, shop_id: int, customer_ids: Sequence[int]
) -> dict[int, CustomerFacts]:
    """Whom to greet, by customer id, in one query."""
    rows = session.execute(
        READ_FIRST_NAMES, {"shop_id": shop_id, "customer_ids": list(customer_ids)}
    )
    return {row.customer_id: CustomerFacts(greeting_name(row.first_name)) for row in rows}


def mail_context(
    shop: ShopFacts, customer: CustomerFacts, order: OrderFacts, *, unsubscribe_url: str
) -> dict[str, Any]:
    context = MailContext(
        shop=asdict(shop),
        customer=asdict(customer),
        order=asdict(order),
        unsubscribe_url=unsubscribe_url,
    )
    return dict(context)


def _line(row: Any) -> LineFacts:
    return LineFacts(
        title=one_line(row.title, limit=MAX_TITLE),
        variant=one_line(row.variant_title or "", limit=MAX_TITLE),
        quantity=row.current_quantity,
        price=_amount(row.unit_price * row.current_quantity, row.currency),
    )


def _amount(value: Decimal, currency: str) -> str:
    return f"{value:,.2f} {currency}"
