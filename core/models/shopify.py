"""What Shopify told us: one row per object, last write by Shopify's `updated_at` wins."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, Boolean, Computed, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import RAW, Base, created, shop_key, value_enum
from core.models.enums import ConsentState

# Which orders count, in one place: read by statistics, dbt and UI (docs/decisions/0004).
# A zero total counts; a full refund is recognised by status or, where Shopify has not moved the
# status yet, by the refunded amount.
IS_COUNTED = (
    "NOT is_test AND cancelled_at IS NULL"
    " AND coalesce(financial_status, '') NOT IN ('VOIDED', 'EXPIRED', 'REFUNDED')"
    " AND NOT (original_total > 0 AND refunded_total >= original_total)"
)


class Customer(Base):
    """One row per Shopify customer, soft-deleted when Shopify deletes them."""

    __tablename__ = "customers"
    __table_args__ = (
        Index("ix_customers__email", "shop_id", "email_normalized"),
        Index("ix_customers__updated", "shop_id", "updated_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    customer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    email: Mapped[str | None]
    email_normalized: Mapped[str | None] = mapped_column(
        Text, Computed("lower(btrim(email))", persisted=True)
    )
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    phone: Mapped[str | None]
    locale: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    consent_state: Mapped[ConsentState | None] = mapped_column(
        value_enum(ConsentState, "consent_state"),
        doc="NULL: not told yet (webhooks carry no consent); never sends",
    )
    consent_level: Mapped[str | None]
    consent_updated_at: Mapped[datetime | None]
    has_valid_email: Mapped[bool | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    loaded_at: Mapped[created]


class Order(Base):
    """One row per Shopify order, guests included (customer_id NULL)."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders__customer", "shop_id", "customer_id", "processed_at"),
        Index("ix_orders__processed", "shop_id", "processed_at"),
        Index("ix_orders__updated", "shop_id", "updated_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    customer_id: Mapped[int | None] = mapped_column(BigInteger)
    email: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    processed_at: Mapped[datetime] = mapped_column(
        doc="time of purchase; business time of an order"
    )
    cancelled_at: Mapped[datetime | None]
    is_test: Mapped[bool]
    financial_status: Mapped[str | None] = mapped_column(doc="upper case, as in GraphQL")
    source_name: Mapped[str | None]
    checkout_token: Mapped[str | None]
    discount_codes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    currency: Mapped[str] = mapped_column(doc="of the three totals (shop money)")
    current_total: Mapped[Decimal] = mapped_column(doc="net of returns and refunds; the M of RFM")
    original_total: Mapped[Decimal]
    refunded_total: Mapped[Decimal]
    is_counted: Mapped[bool] = mapped_column(Boolean, Computed(IS_COUNTED, persisted=True))
    loaded_at: Mapped[created]


class OrderLine(Base):
    """One row per line item of an order."""

    __tablename__ = "order_lines"
    __table_args__ = (
        Index("ix_order_lines__order", "shop_id", "order_id"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    line_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger)
    title: Mapped[str]
    variant_title: Mapped[str | None]
    sku: Mapped[str | None]
    product_id: Mapped[int | None] = mapped_column(BigInteger)
    quantity: Mapped[int]
    current_quantity: Mapped[int]
    unit_price: Mapped[Decimal]
    currency: Mapped[str]


class CustomerStatistics(Base):
    """One row per customer: counted orders in the shop's currency, moved with every order.

    Changes only in the transaction that writes the orders, under its row lock
    (core/ingestion/statistics.py).
    """

    __tablename__ = "customer_statistics"
    __table_args__ = (
        Index(
            "ix_customer_statistics__touched",
            "shop_id",
            "touched_at",
            postgresql_where=text("touched_at IS NOT NULL"),
        ),
        Index("ix_customer_statistics__first_order", "shop_id", "first_order_at"),
        Index("ix_customer_statistics__last_order", "shop_id", "last_order_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    customer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_count: Mapped[int] = mapped_column(server_default=text("0"))
    total_spent: Mapped[Decimal] = mapped_column(server_default=text("0"))
    first_order_at: Mapped[datetime | None]
    last_order_at: Mapped[datetime | None]
    foreign_currency_order_count: Mapped[int] = mapped_column(
        server_default=text("0"), doc="counted orders left out of total_spent"
    )
    touched_at: Mapped[datetime | None] = mapped_column(
        doc="set by each change, cleared when memberships have been applied"
    )
