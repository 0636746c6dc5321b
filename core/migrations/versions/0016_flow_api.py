"""What the pages and the command line ask of flows: archived ones, restored versions, figures

Revision ID: 0016
Revises: 0015
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column(
        "automations",
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        schema="crm",
    )
    op.add_column(
        "automation_versions", sa.Column("restored_from", sa.Integer(), nullable=True), schema="crm"
    )
    op.create_index(
        "ix_enrollments__automation",
        "enrollments",
        ["shop_id", "automation_id", "enrolled_at"],
        schema="crm",
    )
    op.create_index(
        "ix_messages__automation",
        "messages",
        ["shop_id", "automation_id", "queued_at"],
        schema="crm",
    )
    op.create_index(
        "ix_messages__tests",
        "messages",
        ["shop_id", "queued_at"],
        schema="crm",
        postgresql_where=sa.text("is_test"),
    )


def downgrade() -> None:
    op.execute("DROP INDEX crm.ix_messages__tests")
    op.execute("DROP INDEX crm.ix_messages__automation")
    op.execute("DROP INDEX crm.ix_enrollments__automation")
    op.drop_column("automation_versions", "restored_from", schema="crm")
    op.drop_column("automations", "archived_at", schema="crm")
