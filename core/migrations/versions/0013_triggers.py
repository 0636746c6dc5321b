"""When tags were added, and how far the triggers of each automation have been evaluated

A tag is added when a customer who had been read before is read with it. A trigger of the table
writes that down, whoever changes the row; where tags stay as they are it is not called.

Revision ID: 0013
Revises: 0012
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Whoever is first read whole brings tags of which nobody knows since when; so do the shop's first
# sync, and customers who were merged into this one.
RECORD_TAGS = """
CREATE FUNCTION raw_shopify.record_added_tags() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO raw_shopify.tag_additions (shop_id, customer_id, tag, added_at)
    SELECT NEW.shop_id, NEW.customer_id, told.tag, NEW.updated_at
    FROM (
        SELECT DISTINCT lower(each.tag) AS tag FROM unnest(NEW.tags) AS each (tag)
        EXCEPT
        SELECT lower(each.tag) FROM unnest(OLD.tags) AS each (tag)
    ) AS told
    WHERE
        EXISTS (
            SELECT 1
            FROM crm.shops
            WHERE shops.shop_id = NEW.shop_id AND shops.first_sync_completed_at IS NOT NULL
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.customer_merges AS merges
            INNER JOIN raw_shopify.customers AS merged
                ON
                    merges.shop_id = merged.shop_id
                    AND merges.deleted_customer_id = merged.customer_id
            CROSS JOIN LATERAL unnest(merged.tags) AS theirs (tag)
            WHERE
                merges.shop_id = NEW.shop_id
                AND merges.kept_customer_id = NEW.customer_id
                AND lower(theirs.tag) = told.tag
        );
    RETURN NULL;
END
$$
"""
ON_CUSTOMERS = """
CREATE TRIGGER record_added_tags AFTER UPDATE OF tags ON raw_shopify.customers
FOR EACH ROW
WHEN (
    NEW.tags IS DISTINCT FROM OLD.tags AND NEW.tags <> '{}' AND OLD.consent_state IS NOT NULL
)
EXECUTE FUNCTION raw_shopify.record_added_tags()
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for column in (
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evaluated_version", sa.Integer(), nullable=True),
        sa.Column("takes_silent", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ):
        op.add_column("automations", column, schema="crm")
    op.create_table(
        "tag_additions",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("addition_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "addition_id", name=op.f("pk_tag_additions")),
        schema="raw_shopify",
    )
    for name, columns in (
        ("ix_tag_additions__tag", ["shop_id", "tag", "added_at"]),
        ("ix_tag_additions__customer", ["shop_id", "customer_id"]),
    ):
        op.create_index(name, "tag_additions", columns, schema="raw_shopify")
    op.execute(RECORD_TAGS)
    op.execute(ON_CUSTOMERS)


def downgrade() -> None:
    op.execute("DROP TRIGGER record_added_tags ON raw_shopify.customers")
    op.execute("DROP FUNCTION raw_shopify.record_added_tags()")
    op.drop_table("tag_additions", schema="raw_shopify")
    for name in ("takes_silent", "evaluated_version", "evaluated_at"):
        op.drop_column("automations", name, schema="crm")
