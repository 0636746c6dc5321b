"""What a mail waited for

Freezing a mail used to forget why it had been waiting, so nobody could say why it left when it did.

Revision ID: 0017
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("messages", sa.Column("waited_for", sa.Text(), nullable=True), schema="crm")


def downgrade() -> None:
    op.drop_column("messages", "waited_for", schema="crm")
