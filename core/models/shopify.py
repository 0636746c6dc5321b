"""What Shopify told us: one row per object, last write by Shopify's `updated_at` wins."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, Computed, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import RAW, Base, created, shop_key, value_enum
from core.models.enums import ConsentState, ObjectType

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
    reported_order_count: Mapped[int | None] = mapped_column(
        doc="Shopify's own count; lags, a cross-check only"
    )
    reported_total_spent: Mapped[Decimal | None] = mapped_column(doc="likewise, in shop currency")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None] = mapped_column(doc="hidden and never mailed from then on")
    merged_into: Mapped[int | None] = mapped_column(
        BigInteger, doc="the customer who was kept when Shopify merged this one away"
    )
    loaded_at: Mapped[created]


class Order(Base):
    """One row per Shopify order, guests included (customer_id NULL)."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders__customer", "shop_id", "customer_id", "processed_at"),
        Index("ix_orders__processed", "shop_id", "processed_at"),
        Index(
            "ix_orders__checkout_token",
            "shop_id",
            "checkout_token",
            postgresql_where=text("checkout_token IS NOT NULL"),
        ),
        Index(
            "ix_orders__guest",
            "shop_id",
            text("lower(btrim(email))"),
            "processed_at",
            postgresql_where=text("customer_id IS NULL AND email IS NOT NULL"),
        ),
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


class Refund(Base):
    """One row per refund of an order: when how much went back."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("ix_refunds__order", "shop_id", "order_id"),
        Index("ix_refunds__processed", "shop_id", "processed_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    refund_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInteger)
    processed_at: Mapped[datetime]
    amount: Mapped[Decimal] = mapped_column(doc="shop money")
    currency: Mapped[str]


class Checkout(Base):
    """One row per checkout that got as far as an address, abandoned or completed.

    GraphQL knows a checkout by id and address, webhooks by token and address: the token in the
    address (`…/checkouts/ac/<token>/recover`) is what both have.
    """

    __tablename__ = "checkouts"
    __table_args__ = (
        Index("ix_checkouts__token", "shop_id", "token"),
        Index("ix_checkouts__customer", "shop_id", "customer_id", "updated_at"),
        Index("ix_checkouts__email", "shop_id", "email_normalized"),
        Index("ix_checkouts__updated", "shop_id", "updated_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    checkout_key: Mapped[str] = mapped_column(
        primary_key=True, doc="token in the recovery address, else the token"
    )
    checkout_id: Mapped[int | None] = mapped_column(BigInteger, doc="GraphQL's; webhooks lack it")
    token: Mapped[str | None] = mapped_column(doc="as orders.checkout_token; GraphQL lacks it")
    name: Mapped[str | None]
    customer_id: Mapped[int | None] = mapped_column(BigInteger)
    email: Mapped[str | None]
    email_normalized: Mapped[str | None] = mapped_column(
        Text, Computed("lower(btrim(email))", persisted=True)
    )
    phone: Mapped[str | None]
    recovery_url: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    currency: Mapped[str]
    total: Mapped[Decimal]
    subtotal: Mapped[Decimal | None]
    discount_codes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    line_items: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB,
        server_default=text("'[]'"),
        doc="title, variant_title, sku, product_id, quantity, unit_price (text) of each",
    )
    loaded_at: Mapped[created]


class Product(Base):
    """One row per product: what is needed to show a line item."""

    __tablename__ = "products"
    __table_args__ = ({"schema": RAW},)

    shop_id: Mapped[shop_key]
    product_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str]
    handle: Mapped[str | None]
    status: Mapped[str | None]
    vendor: Mapped[str | None]
    product_type: Mapped[str | None]
    image_url: Mapped[str | None]
    store_url: Mapped[str | None] = mapped_column(doc="NULL while not published")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    loaded_at: Mapped[created]


class DeletedObject(Base):
    """One row per object that Shopify deleted and that must not come back with a late webhook.

    Ids are never used again, so this is for ever.
    """

    __tablename__ = "deleted_objects"
    __table_args__ = ({"schema": RAW},)

    shop_id: Mapped[shop_key]
    object_type: Mapped[ObjectType] = mapped_column(
        value_enum(ObjectType, "object_type"), primary_key=True
    )
    object_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    deleted_at: Mapped[datetime]


class CustomerMerge(Base):
    """One row per customer that Shopify merged into another.

    Orders and statistics follow in the transaction that writes this row; what activation holds
    (memberships, enrollments, messages) follows in its next run, which sets `applied_at`.
    """

    __tablename__ = "customer_merges"
    __table_args__ = (
        Index("ix_customer_merges__open", "shop_id", postgresql_where=text("applied_at IS NULL")),
        Index("ix_customer_merges__kept", "shop_id", "kept_customer_id"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    deleted_customer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kept_customer_id: Mapped[int] = mapped_column(BigInteger)
    merged_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]


class CustomerStatistics(Base):
    """One row per customer: counted orders in the shop's currency, moved with every order.

    Changes only in the transaction that writes the orders, under its row lock
    (core/ingestion/statistics.py).
    """

    __tablename__ = "customer_statistics"
    # No index on what changes with every order, and room on each page: a new version then stays
    # beside the old one and no index hears of it (decision 25).
    __table_args__ = (
        Index(
            "ix_customer_statistics__first_order",
            "shop_id",
            "first_order_at",
            postgresql_where=text("first_order_at IS NOT NULL"),
        ),
        {"schema": RAW, "postgresql_with": {"fillfactor": 85}},
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


class CustomerTouch(Base):
    """One row per change of a customer's statistics that memberships have not followed yet.

    Written with the change, deleted by the transaction that applies it: who changes a customer
    never waits for who reads them, and a change that commits late has a row of its own.
    """

    __tablename__ = "customer_touches"
    __table_args__ = ({"schema": RAW},)

    shop_id: Mapped[shop_key]
    touch_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[int] = mapped_column(BigInteger)
    touched_at: Mapped[datetime] = mapped_column(doc="business time")


class TagAddition(Base):
    """One row per tag that a customer was read with and had not been read with before.

    Written by a trigger of `customers` (migration 0013), so by whoever changes them; never for tags
    that a customer is first read with.
    """

    __tablename__ = "tag_additions"
    __table_args__ = (
        Index("ix_tag_additions__tag", "shop_id", "tag", "added_at"),
        Index("ix_tag_additions__customer", "shop_id", "customer_id"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    addition_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[int] = mapped_column(BigInteger)
    tag: Mapped[str] = mapped_column(doc="in lower case")
    added_at: Mapped[datetime] = mapped_column(doc="the customer's updated_at when it was there")
