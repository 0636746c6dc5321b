"""The function that takes webhooks plans once and well: see sql/take_webhooks.plpgsql.

Revision ID: 0004
Revises: 0003
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FUNCTIONS = Path(__file__).parents[1] / "functions"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((FUNCTIONS / "take_webhooks_0004.sql").read_text())


def downgrade() -> None:
    op.get_bind().exec_driver_sql((FUNCTIONS / "take_webhooks_0002.sql").read_text())
    op.execute("DROP FUNCTION raw_shopify.analyze_grown_tables")
