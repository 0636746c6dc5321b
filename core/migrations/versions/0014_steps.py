"""Due steps of one shop by an index, and the orders that end a flow

The order of a cart is looked up by its checkout's token, and that of somebody without an account by
the address.

Revision ID: 0014
Revises: 0013
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

IS_ACTIVE = "state = 'active'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP INDEX crm.ix_enrollments__due")
    _create("ix_enrollments__due", "enrollments", ["shop_id", "due_at", "enrollment_id"], IS_ACTIVE)
    _create(
        "ix_orders__checkout_token",
        "orders",
        ["shop_id", "checkout_token"],
        "checkout_token IS NOT NULL",
        schema="raw_shopify",
    )
    _create(
        "ix_orders__guest",
        "orders",
        ["shop_id", sa.text("lower(btrim(email))"), "processed_at"],
        "customer_id IS NULL AND email IS NOT NULL",
        schema="raw_shopify",
    )


def downgrade() -> None:
    op.execute("DROP INDEX raw_shopify.ix_orders__guest")
    op.execute("DROP INDEX raw_shopify.ix_orders__checkout_token")
    op.execute("DROP INDEX crm.ix_enrollments__due")
    _create("ix_enrollments__due", "enrollments", ["due_at"], IS_ACTIVE)


def _create(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    where: str,
    *,
    schema: str = "crm",
) -> None:
    op.create_index(name, table, columns, schema=schema, postgresql_where=sa.text(where))
