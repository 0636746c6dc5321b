"""Enrolments of every trigger

What started an enrolment may be an order, a checkout or a segment; each keeps what it was. The
version in which its position counts may be a later one than the one it entered with.

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for column in (
        sa.Column("step_version", sa.Integer(), nullable=True),
        sa.Column("checkout_key", sa.Text(), nullable=True),
        sa.Column("segment", sa.Text(), nullable=True),
        sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ):
        op.add_column("enrollments", column, schema="crm")


def downgrade() -> None:
    for name in ("is_test", "segment", "checkout_key", "step_version"):
        op.drop_column("enrollments", name, schema="crm")
