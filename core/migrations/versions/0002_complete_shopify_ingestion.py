"""Complete Shopify ingestion

Checkouts, products, refunds, deletions and merges; the sync log and requests for syncs; privacy
requests and what is written back to Shopify. Columns are added nullable, filled in batches, then enforced; nothing here may hold a long lock.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FUNCTIONS = Path(__file__).parents[1] / "functions"
OBJECT_TYPES = ("Customer", "Order", "AbandonedCheckout", "Product")
# (table, column, values of 0001, values from here on)
WIDENED = (
    ("refresh_requests", "object_type", OBJECT_TYPES[:2], OBJECT_TYPES),
    ("rejected_lines", "object_type", OBJECT_TYPES[:2], OBJECT_TYPES),
    ("sync_cursors", "object_type", OBJECT_TYPES[:2], OBJECT_TYPES),
    ("bulk_operations", "object_type", OBJECT_TYPES[:2], OBJECT_TYPES),
    (
        *("bulk_operations", "state", ("submitted", "loaded", "failed")),
        ("submitted", "loaded", "partial", "failed"),
    ),
    (
        *("sync_runs", "kind", ("full", "incremental")),
        ("full", "incremental", "reconcile"),
    ),
)


DEFER_REASONS = (
    "consent_unknown",
    "no_postal_address",
    "no_sender",
    "stale_data",
    "provider_paused",
)


def _allow(table: str, column: str, values: Sequence[str], schema: str = "raw_shopify") -> None:
    """What the column may hold. NOT VALID first: the check of old rows then locks nobody out."""
    name = f"ck_{table}__{column}"
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute(f"ALTER TABLE {schema}.{table} DROP CONSTRAINT {name}")
    op.execute(
        f"ALTER TABLE {schema}.{table} ADD CONSTRAINT {name}"
        f" CHECK ({column} IN ({listed})) NOT VALID"
    )
    op.execute(f"ALTER TABLE {schema}.{table} VALIDATE CONSTRAINT {name}")


def upgrade() -> None:
    # Nobody reads by them, every webhook wrote them, and a plan made while the tables were still
    # empty took them for the primary key: each webhook then read all customers of its shop.
    op.drop_index("ix_customers__updated", table_name="customers", schema="raw_shopify")
    op.drop_index("ix_orders__updated", table_name="orders", schema="raw_shopify")
    op.execute("CREATE SCHEMA raw_shopify_staging")
    for table, column, _, values in WIDENED:
        _allow(table, column, values)
    _allow("messages", "defer_reason", (*DEFER_REASONS, "shop_disconnected"), "crm")
    op.create_index(
        "ix_suppressions__erased",
        "suppressions",
        ["shop_id", "email_normalized"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("reason = 'erased'"),
    )
    op.create_table(
        "checkouts",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("checkout_key", sa.Text(), nullable=False),
        sa.Column("checkout_id", sa.BigInteger(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column(
            "email_normalized",
            sa.Text(),
            sa.Computed("lower(btrim(email))", persisted=True),
            nullable=True,
        ),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("recovery_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("subtotal", sa.Numeric(precision=20, scale=4), nullable=True),
        sa.Column(
            "discount_codes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "line_items",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("shop_id", "checkout_key", name=op.f("pk_checkouts")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_checkouts__customer",
        "checkouts",
        ["shop_id", "customer_id", "updated_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_checkouts__email",
        "checkouts",
        ["shop_id", "email_normalized"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_checkouts__token", "checkouts", ["shop_id", "token"], unique=False, schema="raw_shopify"
    )
    op.create_index(
        "ix_checkouts__updated",
        "checkouts",
        ["shop_id", "updated_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "customer_merges",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("deleted_customer_id", sa.BigInteger(), nullable=False),
        sa.Column("kept_customer_id", sa.BigInteger(), nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "deleted_customer_id", name=op.f("pk_customer_merges")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customer_merges__kept",
        "customer_merges",
        ["shop_id", "kept_customer_id"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customer_merges__open",
        "customer_merges",
        ["shop_id"],
        unique=False,
        schema="raw_shopify",
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "deleted_objects",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                "AbandonedCheckout",
                "Product",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "shop_id", "object_type", "object_id", name=op.f("pk_deleted_objects")
        ),
        schema="raw_shopify",
    )
    op.create_table(
        "products",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("vendor", sa.Text(), nullable=True),
        sa.Column("product_type", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("store_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("shop_id", "product_id", name=op.f("pk_products")),
        schema="raw_shopify",
    )
    op.create_table(
        "refunds",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("refund_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "refund_id", name=op.f("pk_refunds")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_refunds__order", "refunds", ["shop_id", "order_id"], unique=False, schema="raw_shopify"
    )
    op.create_index(
        "ix_refunds__processed",
        "refunds",
        ["shop_id", "processed_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "sync_log",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("sync_log_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sync_run_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "level",
            sa.Enum(
                "info",
                "warning",
                "error",
                name="level",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                "AbandonedCheckout",
                "Product",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "sync_log_id", name=op.f("pk_sync_log")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_sync_log__run",
        "sync_log",
        ["shop_id", "sync_run_id", "sync_log_id"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "sync_requests",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("sync_request_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "full",
                "incremental",
                "reconcile",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "requested",
                "launched",
                "completed",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "sync_request_id", name=op.f("pk_sync_requests")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_sync_requests__open",
        "sync_requests",
        ["shop_id"],
        unique=False,
        schema="raw_shopify",
        postgresql_where=sa.text("state IN ('requested', 'launched')"),
    )
    op.create_table(
        "privacy_requests",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("privacy_request_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "data_request",
                "customer_redact",
                "shop_redact",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "completed",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("shopify_request_id", sa.BigInteger(), nullable=True),
        sa.Column("subject", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("export", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("receipt", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_privacy_requests__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "privacy_request_id", name=op.f("pk_privacy_requests")),
        sa.UniqueConstraint(
            "shop_id", "webhook_id", name=op.f("uq_privacy_requests__shop_id_webhook_id")
        ),
        schema="crm",
    )
    op.create_index(
        "ix_privacy_requests__due",
        "privacy_requests",
        ["next_attempt_at"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "write_backs",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("write_back_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "add_tag",
                "remove_tag",
                "consent",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("tag", sa.Text(), nullable=True),
        sa.Column(
            "consent_state",
            sa.Enum(
                "SUBSCRIBED",
                "NOT_SUBSCRIBED",
                "PENDING",
                "UNSUBSCRIBED",
                "INVALID",
                "REDACTED",
                name="consent_state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("consent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "done",
                "superseded",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_write_backs__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "write_back_id", name=op.f("pk_write_backs")),
        sa.UniqueConstraint(
            "shop_id", "dedupe_key", name=op.f("uq_write_backs__shop_id_dedupe_key")
        ),
        schema="crm",
    )
    op.create_index(
        "ix_write_backs__customer",
        "write_backs",
        ["shop_id", "customer_id"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "ix_write_backs__due",
        "write_backs",
        ["next_attempt_at"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.add_column(
        "shops",
        sa.Column("previous_client_secret_until", sa.DateTime(timezone=True), nullable=True),
        schema="crm",
    )
    op.add_column(
        "shops",
        sa.Column("uninstalled_at", sa.DateTime(timezone=True), nullable=True),
        schema="crm",
    )
    op.add_column(
        "shops",
        sa.Column("webhooks_checked_at", sa.DateTime(timezone=True), nullable=True),
        schema="crm",
    )
    op.add_column("shops", sa.Column("webhooks_problem", sa.Text(), nullable=True), schema="crm")
    op.add_column(
        "bulk_operations",
        sa.Column(
            "purpose",
            sa.Enum(
                "load",
                "compare",
                name="purpose",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default=sa.text("'load'"),
            nullable=False,
        ),
        schema="raw_shopify",
    )
    op.add_column(
        "bulk_operations",
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=True),
        schema="raw_shopify",
    )
    op.add_column(
        "customers",
        sa.Column("reported_order_count", sa.Integer(), nullable=True),
        schema="raw_shopify",
    )
    op.add_column(
        "customers",
        sa.Column("reported_total_spent", sa.Numeric(precision=20, scale=4), nullable=True),
        schema="raw_shopify",
    )
    op.add_column(
        "customers", sa.Column("merged_into", sa.BigInteger(), nullable=True), schema="raw_shopify"
    )
    op.add_column(
        "sync_cursors",
        sa.Column("object_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        schema="raw_shopify",
    )
    op.add_column(
        "sync_runs",
        sa.Column("checkouts_loaded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        schema="raw_shopify",
    )
    op.add_column(
        "sync_runs",
        sa.Column("products_loaded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        schema="raw_shopify",
    )
    op.add_column(
        "sync_runs",
        sa.Column("objects_expected", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        schema="raw_shopify",
    )
    op.add_column(
        "sync_runs",
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        schema="raw_shopify",
    )
    # Bodies of up to a page stay as they came: compressing them costs more than storing the rest of
    # a webhook.
    op.execute("ALTER TABLE raw_shopify.webhook_inbox SET (toast_tuple_target = 8160)")
    op.get_bind().exec_driver_sql((FUNCTIONS / "take_webhooks_0002.sql").read_text())


def downgrade() -> None:
    """Loses what only the new tables hold, and rows that the old constraints do not know."""
    for table in ("orders", "customers"):
        op.create_index(
            f"ix_{table}__updated",
            table,
            ["shop_id", "updated_at"],
            unique=False,
            schema="raw_shopify",
        )
    op.execute("DROP FUNCTION raw_shopify.take_webhooks")
    op.execute("ALTER TABLE raw_shopify.webhook_inbox RESET (toast_tuple_target)")
    op.execute(
        "DELETE FROM raw_shopify.bulk_operations USING raw_shopify.sync_runs"
        " WHERE sync_runs.shop_id = bulk_operations.shop_id"
        " AND sync_runs.sync_run_id = bulk_operations.sync_run_id"
        " AND sync_runs.kind = 'reconcile'"
    )
    for table, column, values, _ in WIDENED:
        listed = ", ".join(f"'{value}'" for value in values)
        op.execute(f"DELETE FROM raw_shopify.{table} WHERE {column} NOT IN ({listed})")
        _allow(table, column, values)
    op.execute(
        "UPDATE crm.messages SET defer_reason = NULL WHERE defer_reason = 'shop_disconnected'"
    )
    _allow("messages", "defer_reason", DEFER_REASONS, "crm")
    op.drop_index(
        "ix_suppressions__erased",
        table_name="suppressions",
        schema="crm",
        postgresql_where=sa.text("reason = 'erased'"),
    )
    op.drop_column("sync_runs", "report", schema="raw_shopify")
    op.drop_column("sync_runs", "objects_expected", schema="raw_shopify")
    op.drop_column("sync_runs", "products_loaded", schema="raw_shopify")
    op.drop_column("sync_runs", "checkouts_loaded", schema="raw_shopify")
    op.drop_column("sync_cursors", "object_id", schema="raw_shopify")
    op.drop_column("customers", "merged_into", schema="raw_shopify")
    op.drop_column("customers", "reported_total_spent", schema="raw_shopify")
    op.drop_column("customers", "reported_order_count", schema="raw_shopify")
    op.drop_column("bulk_operations", "announced_at", schema="raw_shopify")
    op.drop_column("bulk_operations", "purpose", schema="raw_shopify")
    op.drop_column("shops", "webhooks_problem", schema="crm")
    op.drop_column("shops", "webhooks_checked_at", schema="crm")
    op.drop_column("shops", "uninstalled_at", schema="crm")
    op.drop_column("shops", "previous_client_secret_until", schema="crm")
    op.drop_index(
        "ix_write_backs__due",
        table_name="write_backs",
        schema="crm",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index("ix_write_backs__customer", table_name="write_backs", schema="crm")
    op.drop_table("write_backs", schema="crm")
    op.drop_index(
        "ix_privacy_requests__due",
        table_name="privacy_requests",
        schema="crm",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_table("privacy_requests", schema="crm")
    op.drop_index(
        "ix_sync_requests__open",
        table_name="sync_requests",
        schema="raw_shopify",
        postgresql_where=sa.text("state IN ('requested', 'launched')"),
    )
    op.drop_table("sync_requests", schema="raw_shopify")
    op.drop_index("ix_sync_log__run", table_name="sync_log", schema="raw_shopify")
    op.drop_table("sync_log", schema="raw_shopify")
    op.drop_index("ix_refunds__processed", table_name="refunds", schema="raw_shopify")
    op.drop_index("ix_refunds__order", table_name="refunds", schema="raw_shopify")
    op.drop_table("refunds", schema="raw_shopify")
    op.drop_table("products", schema="raw_shopify")
    op.drop_table("deleted_objects", schema="raw_shopify")
    op.drop_index(
        "ix_customer_merges__open",
        table_name="customer_merges",
        schema="raw_shopify",
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.drop_index("ix_customer_merges__kept", table_name="customer_merges", schema="raw_shopify")
    op.drop_table("customer_merges", schema="raw_shopify")
    op.drop_index("ix_checkouts__updated", table_name="checkouts", schema="raw_shopify")
    op.drop_index("ix_checkouts__token", table_name="checkouts", schema="raw_shopify")
    op.drop_index("ix_checkouts__email", table_name="checkouts", schema="raw_shopify")
    op.drop_index("ix_checkouts__customer", table_name="checkouts", schema="raw_shopify")
    op.drop_table("checkouts", schema="raw_shopify")
    op.execute("DROP SCHEMA raw_shopify_staging CASCADE")
