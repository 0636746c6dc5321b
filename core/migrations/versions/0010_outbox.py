"""Sending: the pace belongs to the provider's account, a pause to the shop; what is unknown is
looked for in the provider's list.

Revision ID: 0010
Revises: 0009
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ACTIONS = ("resend_unknown",)
AUDIT_CHECK = "ck_audit_entries__action"
READ_CHECK = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'crm.audit_entries'::regclass AND conname = 'ck_audit_entries__action'
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "send_teams",
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("single_next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True)),
        sa.Column("paused_reason", sa.Text()),
        sa.PrimaryKeyConstraint("team", name="pk_send_teams"),
        schema="crm",
    )
    op.drop_column("send_paces", "next_at", schema="crm")
    op.add_column(
        "message_batches", sa.Column("reconciled_at", sa.DateTime(timezone=True)), schema="crm"
    )
    # Compressed already: Postgres need not try.
    op.execute("ALTER TABLE crm.message_batches ALTER COLUMN body SET STORAGE EXTERNAL")
    _index("ix_message_batches__unknown", "message_batches", ["next_attempt_at"],
           "state = 'unknown' AND next_attempt_at IS NOT NULL")  # fmt: skip
    _drop("ix_messages__queue", "ix_messages__batch", "ix_messages__provider")
    queue = ["shop_id", "due_at", "message_id"]
    _index("ix_messages__queue", "messages", queue, "state = 'queued'")
    _index("ix_messages__batch", "messages", ["shop_id", "batch_id"], "batch_id IS NOT NULL")
    _index("ix_messages__provider", "messages", ["provider_message_id"],
           "provider_message_id IS NOT NULL")  # fmt: skip
    _index("ix_messages__unknown", "messages", ["shop_id"], "state = 'unknown'")
    _allow([*_actions(), *ACTIONS])
    # What was given up before is looked for as well.
    op.execute(
        "UPDATE crm.message_batches SET next_attempt_at = clock_timestamp() WHERE state = 'unknown'"
    )


def downgrade() -> None:
    op.execute("UPDATE crm.message_batches SET next_attempt_at = NULL WHERE state = 'unknown'")
    op.execute("DELETE FROM crm.audit_entries WHERE action = 'resend_unknown'")
    _allow([each for each in _actions() if each not in ACTIONS])
    _drop("ix_messages__unknown", "ix_messages__provider", "ix_messages__batch")
    _drop("ix_messages__queue", "ix_message_batches__unknown")
    _index("ix_messages__queue", "messages", ["due_at"], "state = 'queued'")
    _index("ix_messages__batch", "messages", ["shop_id", "batch_id"])
    _index("ix_messages__provider", "messages", ["provider_message_id"])
    op.execute("ALTER TABLE crm.message_batches ALTER COLUMN body SET STORAGE EXTENDED")
    op.drop_column("message_batches", "reconciled_at", schema="crm")
    op.add_column(
        "send_paces",
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        schema="crm",
    )
    op.alter_column("send_paces", "next_at", server_default=None, schema="crm")
    op.drop_table("send_teams", schema="crm")


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, schema="crm", postgresql_where=condition)


def _drop(*names: str) -> None:
    for name in names:
        op.execute(f"DROP INDEX crm.{name}")


def _actions() -> list[str]:
    """The actions allowed now: what earlier migrations added stays."""
    definition: str = op.get_bind().exec_driver_sql(READ_CHECK).scalar_one()
    return re.findall(r"'([a-z_]+)'", definition)


def _allow(actions: list[str]) -> None:
    allowed = ", ".join(f"'{each}'" for each in dict.fromkeys(actions))
    op.execute(f"ALTER TABLE crm.audit_entries DROP CONSTRAINT {AUDIT_CHECK}")
    op.execute(
        f"ALTER TABLE crm.audit_entries ADD CONSTRAINT {AUDIT_CHECK} CHECK (action IN ({allowed}))"
    )
