"""Tell an activation run that lingers what has just come, when it is committed

One NOTIFY for each transaction that stores an order's touch or asks for a read by id: Postgres
sends the same notification of one transaction once. Without a listener it goes nowhere.

Revision ID: 0018
Revises: 0017
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What a customer waits for. All else (events, write-backs, requests of people) is found by the
# look that such a run takes every second: a notification makes commits wait for each other.
ANNOUNCED = ("customer_touches", "refresh_requests")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("""
        CREATE FUNCTION raw_shopify.tell_work() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM came) THEN
                PERFORM pg_notify('ecomcrm_work', '');
            END IF;
            RETURN NULL;
        END
        $$
    """)
    # A statement that stored nothing tells nothing: most webhooks ask for no read by id.
    for table in ANNOUNCED:
        op.execute(f"""
            CREATE TRIGGER tell_work AFTER INSERT ON raw_shopify.{table}
            REFERENCING NEW TABLE AS came FOR EACH STATEMENT
            EXECUTE FUNCTION raw_shopify.tell_work()
        """)


def downgrade() -> None:
    for table in ANNOUNCED:
        op.execute(f"DROP TRIGGER tell_work ON raw_shopify.{table}")
    op.execute("DROP FUNCTION raw_shopify.tell_work()")
