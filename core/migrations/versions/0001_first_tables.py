"""First tables

Columns are added nullable, filled in batches, then enforced; nothing here may hold a long lock.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "delivery_events",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("shop_id", sa.Integer(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "stored",
                "matched",
                "unmatched",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("provider", "event_id", name=op.f("pk_delivery_events")),
        schema="crm",
    )
    op.create_index(
        "ix_delivery_events__message",
        "delivery_events",
        ["shop_id", "message_id"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "ix_delivery_events__unmatched",
        "delivery_events",
        ["received_at"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.create_table(
        "segment_memberships",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("membership_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "segment",
            sa.Enum(
                "champion",
                "loyal",
                "potential",
                "new",
                "at_risk",
                "hibernating",
                "lost",
                name="segment",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "previous_segment",
            sa.Enum(
                "champion",
                "loyal",
                "potential",
                "new",
                "at_risk",
                "hibernating",
                "lost",
                name="previous_segment",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("exited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cause",
            sa.Enum(
                "baseline",
                "full_run",
                "order",
                "erase",
                name="cause",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("rfm_run_id", sa.Text(), nullable=True),
        sa.Column("r_score", sa.SmallInteger(), nullable=False),
        sa.Column("f_score", sa.SmallInteger(), nullable=False),
        sa.Column("m_score", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "membership_id", name=op.f("pk_segment_memberships")),
        schema="crm",
    )
    op.create_index(
        "ix_segment_memberships__customer",
        "segment_memberships",
        ["shop_id", "customer_id", "entered_at"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "ix_segment_memberships__entered",
        "segment_memberships",
        ["shop_id", "segment", "entered_at"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "uq_segment_memberships__one_open",
        "segment_memberships",
        ["shop_id", "customer_id"],
        unique=True,
        schema="crm",
        postgresql_where=sa.text("exited_at IS NULL"),
    )
    op.create_table(
        "shops",
        sa.Column("shop_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("shopify_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "clock_offset", sa.Interval(), server_default=sa.text("interval '0'"), nullable=False
        ),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("client_secret_encrypted", sa.Text(), nullable=False),
        sa.Column("previous_client_secret_encrypted", sa.Text(), nullable=True),
        sa.Column(
            "access_scopes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("sender_name", sa.Text(), nullable=True),
        sa.Column("sender_address", sa.Text(), nullable=True),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("postal_address", sa.Text(), nullable=True),
        sa.Column("accent_color", sa.Text(), server_default=sa.text("'#2f5d50'"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("first_sync_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_sync_completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("baseline_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "is_sandbox OR clock_offset = interval '0'",
            name=op.f("ck_shops__only_sandbox_time_moves"),
        ),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_shops")),
        sa.UniqueConstraint("domain", name=op.f("uq_shops__domain")),
        schema="crm",
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users__email")),
        schema="crm",
    )
    op.create_table(
        "customer_statistics",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("order_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "total_spent",
            sa.Numeric(precision=20, scale=4),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("first_order_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_order_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "foreign_currency_order_count",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "customer_id", name=op.f("pk_customer_statistics")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customer_statistics__first_order",
        "customer_statistics",
        ["shop_id", "first_order_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customer_statistics__last_order",
        "customer_statistics",
        ["shop_id", "last_order_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customer_statistics__touched",
        "customer_statistics",
        ["shop_id", "touched_at"],
        unique=False,
        schema="raw_shopify",
        postgresql_where=sa.text("touched_at IS NOT NULL"),
    )
    op.create_table(
        "customers",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column(
            "email_normalized",
            sa.Text(),
            sa.Computed("lower(btrim(email))", persisted=True),
            nullable=True,
        ),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
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
        sa.Column("consent_level", sa.Text(), nullable=True),
        sa.Column("consent_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("has_valid_email", sa.Boolean(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("shop_id", "customer_id", name=op.f("pk_customers")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customers__email",
        "customers",
        ["shop_id", "email_normalized"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_customers__updated",
        "customers",
        ["shop_id", "updated_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "order_lines",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("line_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("variant_title", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("product_id", sa.BigInteger(), nullable=True),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("current_quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "line_id", name=op.f("pk_order_lines")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_order_lines__order",
        "order_lines",
        ["shop_id", "order_id"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "orders",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_test", sa.Boolean(), nullable=False),
        sa.Column("financial_status", sa.Text(), nullable=True),
        sa.Column("source_name", sa.Text(), nullable=True),
        sa.Column("checkout_token", sa.Text(), nullable=True),
        sa.Column(
            "discount_codes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("current_total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("original_total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("refunded_total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column(
            "is_counted",
            sa.Boolean(),
            sa.Computed(
                "NOT is_test AND cancelled_at IS NULL AND coalesce(financial_status, '') NOT IN ('VOIDED', 'EXPIRED', 'REFUNDED') AND NOT (original_total > 0 AND refunded_total >= original_total)",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("shop_id", "order_id", name=op.f("pk_orders")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_orders__customer",
        "orders",
        ["shop_id", "customer_id", "processed_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_orders__processed",
        "orders",
        ["shop_id", "processed_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_index(
        "ix_orders__updated",
        "orders",
        ["shop_id", "updated_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "refresh_requests",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "shop_id", "object_type", "object_id", name=op.f("pk_refresh_requests")
        ),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_refresh_requests__due",
        "refresh_requests",
        ["next_attempt_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "rejected_lines",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("rejected_line_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sync_run_id", sa.Integer(), nullable=False),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("line_number", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column(
            "rejected_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("shop_id", "rejected_line_id", name=op.f("pk_rejected_lines")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_rejected_lines__run",
        "rejected_lines",
        ["shop_id", "sync_run_id"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "sync_cursors",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sync_run_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "object_type", name=op.f("pk_sync_cursors")),
        schema="raw_shopify",
    )
    op.create_table(
        "sync_runs",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("sync_run_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "full",
                "incremental",
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
                "running",
                "completed",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("customers_loaded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("orders_loaded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("order_lines_loaded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lines_rejected", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("warning", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "sync_run_id", name=op.f("pk_sync_runs")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_sync_runs__started",
        "sync_runs",
        ["shop_id", "started_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "webhook_inbox",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("triggered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "received",
                "applied",
                "ignored",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "webhook_id", name=op.f("pk_webhook_inbox")),
        schema="raw_shopify",
    )
    op.create_index(
        "ix_webhook_inbox__due",
        "webhook_inbox",
        ["next_attempt_at"],
        unique=False,
        schema="raw_shopify",
        postgresql_where=sa.text("state IN ('received', 'failed') AND next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhook_inbox__received",
        "webhook_inbox",
        ["shop_id", "received_at"],
        unique=False,
        schema="raw_shopify",
    )
    op.create_table(
        "automations",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("automation_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("switched_on_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("current_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_automations__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "automation_id", name=op.f("pk_automations")),
        sa.UniqueConstraint("shop_id", "key", name=op.f("uq_automations__shop_id_key")),
        schema="crm",
    )
    op.create_table(
        "message_batches",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "completed",
                "dissolved",
                "unknown",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_unknown_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_message_batches__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "batch_id", name=op.f("pk_message_batches")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_message_batches__idempotency_key")),
        schema="crm",
    )
    op.create_index(
        "ix_message_batches__open",
        "message_batches",
        ["lease_until"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "messages",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("automation_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("step_key", sa.Text(), nullable=False),
        sa.Column("enrollment_id", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "frozen",
                "sent",
                "delivered",
                "bounced",
                "complained",
                "skipped",
                "failed",
                "unknown",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "skip_reason",
            sa.Enum(
                "not_subscribed",
                "consent_unknown",
                "unsubscribed",
                "suppressed",
                "no_address",
                "invalid_address",
                "customer_deleted",
                "exited",
                "too_late",
                "automation_off",
                "holdout",
                name="skip_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column(
            "defer_reason",
            sa.Enum(
                "consent_unknown",
                "no_postal_address",
                "no_sender",
                "stale_data",
                "provider_paused",
                name="defer_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_position", sa.Integer(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_messages__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "message_id", name=op.f("pk_messages")),
        sa.UniqueConstraint("shop_id", "dedupe_key", name=op.f("uq_messages__shop_id_dedupe_key")),
        schema="crm",
    )
    op.create_index(
        "ix_messages__batch", "messages", ["shop_id", "batch_id"], unique=False, schema="crm"
    )
    op.create_index(
        "ix_messages__customer",
        "messages",
        ["shop_id", "customer_id", "queued_at"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "ix_messages__provider", "messages", ["provider_message_id"], unique=False, schema="crm"
    )
    op.create_index(
        "ix_messages__queue",
        "messages",
        ["due_at"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_messages__recent", "messages", ["shop_id", "queued_at"], unique=False, schema="crm"
    )
    op.create_table(
        "rfm_runs",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("rfm_run_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "accepted",
                "held",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("customer_count", sa.BigInteger(), nullable=False),
        sa.Column("buyer_count", sa.BigInteger(), nullable=False),
        sa.Column("order_count", sa.BigInteger(), nullable=False),
        sa.Column("moved_count", sa.BigInteger(), nullable=True),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_rfm_runs__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "rfm_run_id", name=op.f("pk_rfm_runs")),
        schema="crm",
    )
    op.create_index(
        "ix_rfm_runs__decided",
        "rfm_runs",
        ["shop_id", "state", "decided_at"],
        unique=False,
        schema="crm",
    )
    op.create_table(
        "send_paces",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_send_paces__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_send_paces")),
        schema="crm",
    )
    op.create_table(
        "shop_members",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "owner",
                "marketer",
                "analyst",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_shop_members__shop_id")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["crm.users.user_id"], name=op.f("fk_shop_members__user_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "user_id", name=op.f("pk_shop_members")),
        schema="crm",
    )
    op.create_table(
        "suppressions",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("email_normalized", sa.Text(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "unsubscribed",
                "hard_bounce",
                "complaint",
                "manual",
                "erased",
                name="reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("suppressed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_suppressions__shop_id")
        ),
        sa.PrimaryKeyConstraint(
            "shop_id", "email_normalized", "reason", name=op.f("pk_suppressions")
        ),
        schema="crm",
    )
    op.create_table(
        "user_sessions",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["crm.users.user_id"], name=op.f("fk_user_sessions__user_id")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_user_sessions")),
        schema="crm",
    )
    op.create_index(
        op.f("ix_user_sessions__user_id"), "user_sessions", ["user_id"], unique=False, schema="crm"
    )
    op.create_table(
        "login_attempts",
        sa.Column("attempt_key", sa.LargeBinary(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("attempt_key", name=op.f("pk_login_attempts")),
        schema="crm",
    )
    op.create_table(
        "bulk_operations",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("sync_run_id", sa.Integer(), nullable=False),
        sa.Column(
            "object_type",
            sa.Enum(
                "Customer",
                "Order",
                name="object_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "submitted",
                "loaded",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("api_version", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shopify_status", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("object_count", sa.BigInteger(), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column("lines_read", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "sync_run_id"],
            ["raw_shopify.sync_runs.shop_id", "raw_shopify.sync_runs.sync_run_id"],
            name=op.f("fk_bulk_operations__shop_id_sync_run_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "operation_id", name=op.f("pk_bulk_operations")),
        schema="raw_shopify",
    )
    op.create_table(
        "automation_versions",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("automation_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            ["crm.automations.shop_id", "crm.automations.automation_id"],
            name=op.f("fk_automation_versions__shop_id_automation_id"),
        ),
        sa.PrimaryKeyConstraint(
            "shop_id", "automation_id", "version", name=op.f("pk_automation_versions")
        ),
        schema="crm",
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "accepted",
                "refused",
                "retry",
                "unknown",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "batch_id"],
            ["crm.message_batches.shop_id", "crm.message_batches.batch_id"],
            name=op.f("fk_delivery_attempts__shop_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint(
            "shop_id", "batch_id", "attempt", name=op.f("pk_delivery_attempts")
        ),
        schema="crm",
    )
    op.create_table(
        "enrollments",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("enrollment_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("automation_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_key", sa.Text(), nullable=False),
        sa.Column("moment_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "active",
                "completed",
                "exited",
                "too_late",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("exit_reason", sa.Text(), nullable=True),
        sa.Column("is_held_out", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("step_position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "automation_id", "version"],
            [
                "crm.automation_versions.shop_id",
                "crm.automation_versions.automation_id",
                "crm.automation_versions.version",
            ],
            name=op.f("fk_enrollments__shop_id_automation_id_version"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "enrollment_id", name=op.f("pk_enrollments")),
        sa.UniqueConstraint(
            "shop_id",
            "automation_id",
            "customer_id",
            "entry_key",
            name=op.f("uq_enrollments__shop_id_automation_id_customer_id_entry_key"),
        ),
        schema="crm",
    )
    op.create_index(
        "ix_enrollments__customer",
        "enrollments",
        ["shop_id", "customer_id"],
        unique=False,
        schema="crm",
    )
    op.create_index(
        "ix_enrollments__due",
        "enrollments",
        ["due_at"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'active'"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_enrollments__due",
        table_name="enrollments",
        schema="crm",
        postgresql_where=sa.text("state = 'active'"),
    )
    op.drop_index("ix_enrollments__customer", table_name="enrollments", schema="crm")
    op.drop_table("enrollments", schema="crm")
    op.drop_table("delivery_attempts", schema="crm")
    op.drop_table("automation_versions", schema="crm")
    op.drop_table("bulk_operations", schema="raw_shopify")
    op.drop_table("login_attempts", schema="crm")
    op.drop_index(op.f("ix_user_sessions__user_id"), table_name="user_sessions", schema="crm")
    op.drop_table("user_sessions", schema="crm")
    op.drop_table("suppressions", schema="crm")
    op.drop_table("shop_members", schema="crm")
    op.drop_table("send_paces", schema="crm")
    op.drop_index("ix_rfm_runs__decided", table_name="rfm_runs", schema="crm")
    op.drop_table("rfm_runs", schema="crm")
    op.drop_index("ix_messages__recent", table_name="messages", schema="crm")
    op.drop_index(
        "ix_messages__queue",
        table_name="messages",
        schema="crm",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index("ix_messages__provider", table_name="messages", schema="crm")
    op.drop_index("ix_messages__customer", table_name="messages", schema="crm")
    op.drop_index("ix_messages__batch", table_name="messages", schema="crm")
    op.drop_table("messages", schema="crm")
    op.drop_index(
        "ix_message_batches__open",
        table_name="message_batches",
        schema="crm",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.drop_table("message_batches", schema="crm")
    op.drop_table("automations", schema="crm")
    op.drop_index("ix_webhook_inbox__received", table_name="webhook_inbox", schema="raw_shopify")
    op.drop_index(
        "ix_webhook_inbox__due",
        table_name="webhook_inbox",
        schema="raw_shopify",
        postgresql_where=sa.text("state IN ('received', 'failed') AND next_attempt_at IS NOT NULL"),
    )
    op.drop_table("webhook_inbox", schema="raw_shopify")
    op.drop_index("ix_sync_runs__started", table_name="sync_runs", schema="raw_shopify")
    op.drop_table("sync_runs", schema="raw_shopify")
    op.drop_table("sync_cursors", schema="raw_shopify")
    op.drop_index("ix_rejected_lines__run", table_name="rejected_lines", schema="raw_shopify")
    op.drop_table("rejected_lines", schema="raw_shopify")
    op.drop_index("ix_refresh_requests__due", table_name="refresh_requests", schema="raw_shopify")
    op.drop_table("refresh_requests", schema="raw_shopify")
    op.drop_index("ix_orders__updated", table_name="orders", schema="raw_shopify")
    op.drop_index("ix_orders__processed", table_name="orders", schema="raw_shopify")
    op.drop_index("ix_orders__customer", table_name="orders", schema="raw_shopify")
    op.drop_table("orders", schema="raw_shopify")
    op.drop_index("ix_order_lines__order", table_name="order_lines", schema="raw_shopify")
    op.drop_table("order_lines", schema="raw_shopify")
    op.drop_index("ix_customers__updated", table_name="customers", schema="raw_shopify")
    op.drop_index("ix_customers__email", table_name="customers", schema="raw_shopify")
    op.drop_table("customers", schema="raw_shopify")
    op.drop_index(
        "ix_customer_statistics__touched",
        table_name="customer_statistics",
        schema="raw_shopify",
        postgresql_where=sa.text("touched_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_customer_statistics__last_order", table_name="customer_statistics", schema="raw_shopify"
    )
    op.drop_index(
        "ix_customer_statistics__first_order",
        table_name="customer_statistics",
        schema="raw_shopify",
    )
    op.drop_table("customer_statistics", schema="raw_shopify")
    op.drop_table("users", schema="crm")
    op.drop_table("shops", schema="crm")
    op.drop_index(
        "uq_segment_memberships__one_open",
        table_name="segment_memberships",
        schema="crm",
        postgresql_where=sa.text("exited_at IS NULL"),
    )
    op.drop_index("ix_segment_memberships__entered", table_name="segment_memberships", schema="crm")
    op.drop_index(
        "ix_segment_memberships__customer", table_name="segment_memberships", schema="crm"
    )
    op.drop_table("segment_memberships", schema="crm")
    op.drop_index(
        "ix_delivery_events__unmatched",
        table_name="delivery_events",
        schema="crm",
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.drop_index("ix_delivery_events__message", table_name="delivery_events", schema="crm")
    op.drop_table("delivery_events", schema="crm")
