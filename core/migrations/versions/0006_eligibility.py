"""Caps, quiet hours and priorities

A message carries its priority, so that the most urgent of what is due is claimed first, and is
found by the address it went to, so that caps can count. What a shop allows is one row; a shop
without one has the defaults.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DEFER_REASONS = (
    *("consent_unknown", "no_postal_address", "no_sender", "stale_data", "provider_paused"),
    "shop_disconnected",
)
ADDED = ("data_held", "frequency_cap", "quiet_hours")


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
    op.create_table(
        "send_rules",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("short_cap_mails", sa.Integer(), nullable=True),
        sa.Column("short_cap_hours", sa.Integer(), nullable=False),
        sa.Column("long_cap_mails", sa.Integer(), nullable=True),
        sa.Column("long_cap_days", sa.Integer(), nullable=False),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "short_cap_mails >= 1 AND long_cap_mails >= 1 AND short_cap_hours >= 1"
            " AND long_cap_days >= 1",
            name=op.f("ck_send_rules__caps_allow_something"),
        ),
        sa.CheckConstraint(
            "(quiet_from IS NULL) = (quiet_until IS NULL) AND quiet_from <> quiet_until",
            name=op.f("ck_send_rules__quiet_hours_end"),
        ),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_send_rules__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_send_rules")),
        schema="crm",
    )
    op.add_column(
        "messages",
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("60"), nullable=False),
        schema="crm",
    )
    # All there was before is the welcome flow's.
    op.execute("UPDATE crm.messages SET priority = 20 WHERE state = 'queued'")
    op.create_index(
        "ix_messages__claim",
        "messages",
        ["shop_id", "priority", "due_at", "message_id"],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_messages__address",
        "messages",
        ["shop_id", sa.text("lower(btrim(email))"), sa.text("coalesce(sent_at, frozen_at)")],
        unique=False,
        schema="crm",
        postgresql_where=sa.text("state NOT IN ('skipped', 'failed')"),
    )
    _allow_defer_reasons((*DEFER_REASONS, *ADDED))


def downgrade() -> None:
    listed = ", ".join(f"'{value}'" for value in ADDED)
    op.execute(f"UPDATE crm.messages SET defer_reason = NULL WHERE defer_reason IN ({listed})")
    _allow_defer_reasons(DEFER_REASONS)
    op.drop_index("ix_messages__address", table_name="messages", schema="crm")
    op.drop_index("ix_messages__claim", table_name="messages", schema="crm")
    op.drop_column("messages", "priority", schema="crm")
    op.drop_table("send_rules", schema="crm")
