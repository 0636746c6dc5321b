"""The function that takes webhooks plans once and well: see sql/take_webhooks.plpgsql.

Migration 0002 was released in two states. A database of the earlier one has two indexes more, and a
function of other parameters, which would stay beside the new one.

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


DROP_EVERY_FORM = """
DO $$
DECLARE
    v_form regprocedure;
BEGIN
    FOR v_form IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'raw_shopify'::regnamespace AND proname = 'take_webhooks'
    LOOP
        EXECUTE 'DROP FUNCTION ' || v_form;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.execute("DROP INDEX IF EXISTS raw_shopify.ix_customers__updated")
    op.execute("DROP INDEX IF EXISTS raw_shopify.ix_orders__updated")
    op.execute(DROP_EVERY_FORM)
    op.get_bind().exec_driver_sql((FUNCTIONS / "take_webhooks_0004.sql").read_text())


def downgrade() -> None:
    op.get_bind().exec_driver_sql((FUNCTIONS / "take_webhooks_0002.sql").read_text())
    op.execute("DROP FUNCTION raw_shopify.analyze_grown_tables")
