"""An order as a webhook tells it, in the columns of our tables and the types of Python.

Written as JSON by field name (msgspec), which is why the names are those of core/ingestion/rows.py;
a test compares them. One step from body to row: by way of the shape of GraphQL and rows of text it
took as long again as reading the body.
"""

from datetime import datetime
from decimal import Decimal

from msgspec import Struct


class OrderTold(Struct, frozen=True, gc=False):
    order_id: int
    name: str
    customer_id: int | None
    email: str | None
    created_at: datetime
    updated_at: datetime
    processed_at: datetime
    cancelled_at: datetime | None
    is_test: bool
    financial_status: str | None
    source_name: str | None
    checkout_token: str | None
    discount_codes: list[str]
    currency: str
    current_total: Decimal
    original_total: Decimal
    refunded_total: Decimal


class LineTold(Struct, frozen=True, gc=False):
    line_id: int
    order_id: int
    title: str
    variant_title: str | None
    sku: str | None
    product_id: int | None
    quantity: int
    current_quantity: int
    unit_price: Decimal
    currency: str


class RefundTold(Struct, frozen=True, gc=False):
    refund_id: int
    order_id: int
    processed_at: datetime
    amount: Decimal
    currency: str
