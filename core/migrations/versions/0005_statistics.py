"""Statistics and open memberships that are updated in place, and a queue for who was touched.

Indexes changed with every order, so that each version of a row was written to all of them; what
they were for is written in decision 25. Making the others anew holds off writers for as long as it
takes to read the tables (a million rows: a second).

Revision ID: 0005
Revises: 0004
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FUNCTIONS = Path(__file__).parents[1] / "functions"
STATISTICS = "raw_shopify.customer_statistics"
MEMBERSHIPS = "crm.segment_memberships"
FIRST_ORDER = "ix_customer_statistics__first_order"

# Oldest first, as they were taken until now.
MOVE_TOUCHES = f"""
INSERT INTO raw_shopify.customer_touches (shop_id, customer_id, touched_at)
SELECT shop_id, customer_id, touched_at
FROM {STATISTICS}
WHERE touched_at IS NOT NULL
ORDER BY touched_at, customer_id
"""
MOVE_TOUCHES_BACK = f"""
UPDATE {STATISTICS} AS statistics
SET touched_at = touches.touched_at
FROM (
    SELECT shop_id, customer_id, max(touched_at) AS touched_at
    FROM raw_shopify.customer_touches
    GROUP BY shop_id, customer_id
) AS touches
WHERE
    statistics.shop_id = touches.shop_id
    AND statistics.customer_id = touches.customer_id
"""
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


def _make_function(revision: str) -> None:
    op.execute(DROP_EVERY_FORM)
    sql = (FUNCTIONS / f"take_webhooks_{revision}.sql").read_text()
    op.get_bind().exec_driver_sql(sql)


def upgrade() -> None:
    op.create_table(
        "customer_touches",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("touch_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "touch_id", name=op.f("pk_customer_touches")),
        schema="raw_shopify",
    )
    # Nobody changes statistics between the move and the end of the column.
    op.execute(f"LOCK TABLE {STATISTICS} IN ACCESS EXCLUSIVE MODE")
    op.execute(MOVE_TOUCHES)
    for name in ("touched", "last_order", "first_order"):
        op.execute(f"DROP INDEX raw_shopify.ix_customer_statistics__{name}")
    op.drop_column("customer_statistics", "touched_at", schema="raw_shopify")
    op.execute(
        f"CREATE INDEX {FIRST_ORDER} ON {STATISTICS} (shop_id, first_order_at)"
        " WHERE first_order_at IS NOT NULL"
    )
    op.execute(f"ALTER TABLE {STATISTICS} SET (fillfactor = 85)")
    for name in ("entered", "customer"):
        op.execute(f"DROP INDEX crm.ix_segment_memberships__{name}")
    op.execute(
        f"CREATE INDEX ix_segment_memberships__customer ON {MEMBERSHIPS} (shop_id, customer_id)"
    )
    op.execute(
        f"CREATE INDEX ix_segment_memberships__exited ON {MEMBERSHIPS} (shop_id, exited_at)"
        " WHERE exited_at IS NOT NULL"
    )
    op.execute(f"ALTER TABLE {MEMBERSHIPS} SET (fillfactor = 90)")
    _make_function("0005")


def downgrade() -> None:
    op.execute(DROP_EVERY_FORM)
    op.execute(f"LOCK TABLE {STATISTICS} IN ACCESS EXCLUSIVE MODE")
    op.execute(f"ALTER TABLE {STATISTICS} RESET (fillfactor)")
    op.add_column(
        "customer_statistics",
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=True),
        schema="raw_shopify",
    )
    op.execute(MOVE_TOUCHES_BACK)
    op.execute(f"DROP INDEX raw_shopify.{FIRST_ORDER}")
    op.execute(f"CREATE INDEX {FIRST_ORDER} ON {STATISTICS} (shop_id, first_order_at)")
    op.execute(
        f"CREATE INDEX ix_customer_statistics__last_order ON {STATISTICS} (shop_id, last_order_at)"
    )
    op.execute(
        f"CREATE INDEX ix_customer_statistics__touched ON {STATISTICS} (shop_id, touched_at)"
        " WHERE touched_at IS NOT NULL"
    )
    op.drop_table("customer_touches", schema="raw_shopify")
    op.execute(f"ALTER TABLE {MEMBERSHIPS} RESET (fillfactor)")
    for name in ("exited", "customer"):
        op.execute(f"DROP INDEX crm.ix_segment_memberships__{name}")
    op.execute(
        f"CREATE INDEX ix_segment_memberships__entered ON {MEMBERSHIPS}"
        " (shop_id, segment, entered_at)"
    )
    op.execute(
        f"CREATE INDEX ix_segment_memberships__customer ON {MEMBERSHIPS}"
        " (shop_id, customer_id, entered_at)"
    )
    _make_function("0004")
