"""Codes of one customer each, made at Shopify ahead of the mails they are in

Revision ID: 0015
Revises: 0014
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DEFER_REASONS = (
    *("consent_unknown", "no_postal_address", "no_sender", "stale_data", "provider_paused"),
    *("shop_disconnected", "data_held", "frequency_cap", "quiet_hours", "not_confirmed"),
)
CODE_STATES = ("requested", "free", "assigned", "refused", "unconfirmed", "expired")
CREATION_STATES = ("open", "done", "lost")


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _state(values: Sequence[str]) -> sa.Column[object]:
    kind = sa.Enum(*values, name="state", native_enum=False, create_constraint=True, length=40)
    return sa.Column("state", kind, nullable=False)


def _allow_defer_reasons(values: Sequence[str]) -> None:
    """NOT VALID first: the check of old rows then locks nobody out."""
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute("ALTER TABLE crm.messages DROP CONSTRAINT ck_messages__defer_reason")
    op.execute(
        "ALTER TABLE crm.messages ADD CONSTRAINT ck_messages__defer_reason"
        f" CHECK (defer_reason IN ({listed})) NOT VALID"
    )
    op.execute("ALTER TABLE crm.messages VALIDATE CONSTRAINT ck_messages__defer_reason")


def upgrade() -> None:
    _allow_defer_reasons((*DEFER_REASONS, "no_discount_code"))
    op.create_index(
        "ix_messages__no_code",
        "messages",
        ["shop_id", "automation_id", "version", "step_key"],
        schema="crm",
        postgresql_where=sa.text("state = 'queued' AND defer_reason = 'no_discount_code'"),
    )
    _create_pools()
    _create_creations()
    _create_codes()


def _create_pools() -> None:
    op.create_table(
        "discount_pools",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("pool_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("automation_id", sa.Integer(), nullable=False),
        sa.Column("step_key", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("first_code", sa.Text(), nullable=False),
        sa.Column("discount_id", sa.Text(), nullable=True),
        _instant("opened_at"),
        _instant("assign_until"),
        _instant("ends_at"),
        _instant("checked_at", nullable=True),
        _instant("lease_until", nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        _instant("closed_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            ["crm.automations.shop_id", "crm.automations.automation_id"],
            name=op.f("fk_discount_pools__shop_id_automation_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "pool_id", name=op.f("pk_discount_pools")),
        schema="crm",
    )
    op.create_index(
        "uq_discount_pools__open",
        "discount_pools",
        ["shop_id", "automation_id", "step_key", "terms", "assign_until"],
        unique=True,
        schema="crm",
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def _create_creations() -> None:
    op.create_table(
        "discount_creations",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("creation_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pool_id", sa.Integer(), nullable=False),
        sa.Column("shopify_id", sa.Text(), nullable=True),
        _state(CREATION_STATES),
        _instant("requested_at"),
        _instant("next_attempt_at"),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _instant("finished_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "pool_id"],
            ["crm.discount_pools.shop_id", "crm.discount_pools.pool_id"],
            name=op.f("fk_discount_creations__shop_id_pool_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "creation_id", name=op.f("pk_discount_creations")),
        schema="crm",
    )
    op.create_index(
        "ix_discount_creations__open",
        "discount_creations",
        ["shop_id", "next_attempt_at"],
        schema="crm",
        postgresql_where=sa.text("state = 'open'"),
    )


def _create_codes() -> None:
    op.create_table(
        "discount_codes",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pool_id", sa.Integer(), nullable=False),
        sa.Column("creation_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        _state(CODE_STATES),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        _instant("assigned_at", nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "creation_id"],
            ["crm.discount_creations.shop_id", "crm.discount_creations.creation_id"],
            name=op.f("fk_discount_codes__shop_id_creation_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "code_id", name=op.f("pk_discount_codes")),
        sa.UniqueConstraint("shop_id", "code", name=op.f("uq_discount_codes__shop_id_code")),
        schema="crm",
    )
    op.create_index(
        "uq_discount_codes__message",
        "discount_codes",
        ["shop_id", "message_id"],
        unique=True,
        schema="crm",
        postgresql_where=sa.text("state = 'assigned'"),
    )
    op.create_index(
        "ix_discount_codes__free",
        "discount_codes",
        ["shop_id", "pool_id", "code_id"],
        schema="crm",
        postgresql_where=sa.text("state = 'free'"),
    )
    op.create_index(
        "ix_discount_codes__creation",
        "discount_codes",
        ["shop_id", "creation_id"],
        schema="crm",
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_table("discount_codes", schema="crm")
    op.drop_table("discount_creations", schema="crm")
    op.drop_table("discount_pools", schema="crm")
    op.execute("DROP INDEX crm.ix_messages__no_code")
    op.execute(
        "UPDATE crm.messages SET defer_reason = NULL WHERE defer_reason = 'no_discount_code'"
    )
    _allow_defer_reasons(DEFER_REASONS)
