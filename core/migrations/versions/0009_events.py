"""What became of mails: opens and clicks, lists mirrored with the provider's, shops that stopped.

Columns are added nullable or with a constant default, so no table is written anew. Checks of old
tables are added unvalidated and validated afterwards, under a lock that lets writers go on.

Revision ID: 0009
Revises: 0008
"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BOUNCE_KINDS = ("permanent", "transient", "undetermined", "suppressed")
SUPPRESSION_SOURCES = ("event", "person", "file", "provider")
BOT_REASONS = (
    *("trap", "user_agent", "too_soon"),
    *("many_links", "with_unsubscribe", "same_visitor"),
)
ACTIONS = ("lift_suppression", "resume_sending")

# What is known of bounces that came before: the kind is in the event that told of them.
FILL_BOUNCE_KINDS = """
UPDATE crm.messages
SET
    bounce_kind = CASE
        WHEN events.body #>> '{data,bounce,subType}' = 'Suppressed' THEN 'suppressed'
        WHEN events.body #>> '{data,bounce,type}' = 'Permanent' THEN 'permanent'
        WHEN events.body #>> '{data,bounce,type}' IN ('Transient', 'Temporary') THEN 'transient'
        ELSE 'undetermined'
    END
FROM crm.delivery_events AS events
WHERE
    events.shop_id = messages.shop_id
    AND events.message_id = messages.message_id
    AND events.event_type = 'email.bounced'
"""


# Opens and clicks that were told of before. Which of them machines made is judged when the next event
# of their mail arrives.
FILL_ENGAGEMENTS = """
INSERT INTO crm.engagements (
    shop_id, message_id, engagement_key, kind, source, url, engaged_at, recorded_at, ip_address,
    user_agent
)
SELECT
    events.shop_id,
    events.message_id,
    events.event_id,
    CASE WHEN events.event_type = 'email.clicked' THEN 'click' ELSE 'open' END,
    'provider',
    left(events.body #>> '{data,click,link}', 2000),
    events.occurred_at,
    events.received_at,
    left(events.body #>> '{data,click,ipAddress}', 64),
    left(events.body #>> '{data,click,userAgent}', 400)
FROM crm.delivery_events AS events
INNER JOIN crm.messages
    ON events.shop_id = messages.shop_id AND events.message_id = messages.message_id
WHERE events.event_type IN ('email.opened', 'email.clicked') AND events.state = 'matched'
"""


def check_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def add_enum(table: str, column: str, values: Sequence[str]) -> None:
    op.add_column(table, sa.Column(column, sa.String(40), nullable=True), schema="crm")
    name = f"ck_{table}__{column}"
    op.execute(
        f"ALTER TABLE crm.{table} ADD CONSTRAINT {name} CHECK ({check_of(column, values)}) NOT VALID"
    )
    op.execute(f"ALTER TABLE crm.{table} VALIDATE CONSTRAINT {name}")


def enum(name: str, values: Sequence[str]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def allow_actions(*, ours: bool) -> None:
    """The check of `audit_entries.action`, with ours or without; what others added stays."""
    name = "ck_audit_entries__action"
    definition: str = (
        op.get_bind()
        .execute(
            sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"),
            {"name": name},
        )
        .scalar_one()
    )
    kept = [each for each in re.findall(r"'([a-z_]+)'", definition) if each not in ACTIONS]
    op.execute(f"ALTER TABLE crm.audit_entries DROP CONSTRAINT {name}")
    op.execute(
        f"ALTER TABLE crm.audit_entries ADD CONSTRAINT {name}"
        f" CHECK ({check_of('action', [*kept, *(ACTIONS if ours else ())])})"
    )


def upgrade() -> None:
    op.add_column(
        "shops",
        sa.Column("tracks_clicks", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        schema="crm",
    )
    add_enum("messages", "bounce_kind", BOUNCE_KINDS)
    op.execute(FILL_BOUNCE_KINDS)
    add_enum("suppressions", "source", SUPPRESSION_SOURCES)
    op.add_column(
        "suppressions",
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=True),
        schema="crm",
    )
    op.create_index(
        "ix_suppressions__pushed",
        "suppressions",
        ["shop_id", "email_normalized"],
        schema="crm",
        postgresql_where=sa.text("pushed_at IS NOT NULL"),
    )
    allow_actions(ours=True)
    create_engagements()
    op.execute(FILL_ENGAGEMENTS)
    op.create_table(
        "sending_holds",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cause", enum("cause", ("bounces", "complaints")), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_sending_holds__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_sending_holds")),
        schema="crm",
    )
    op.create_table(
        "suppression_mirrors",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entry_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_suppression_mirrors__shop_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_suppression_mirrors")),
        schema="crm",
    )


def create_engagements() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "engagements",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("engagement_key", sa.Text(), nullable=False),
        sa.Column("kind", enum("kind", ("open", "click")), nullable=False),
        sa.Column("source", enum("source", ("provider", "own")), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("is_trap", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("engaged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("is_bot", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("bot_reason", enum("bot_reason", BOT_REASONS), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_engagements__shop_id")
        ),
        sa.ForeignKeyConstraint(
            ["shop_id", "message_id"],
            ["crm.messages.shop_id", "crm.messages.message_id"],
            name=op.f("fk_engagements__shop_id_message_id"),
        ),
        sa.PrimaryKeyConstraint(
            "shop_id", "message_id", "engagement_key", name=op.f("pk_engagements")
        ),
        schema="crm",
    )
    op.create_index(
        "ix_engagements__visitors",
        "engagements",
        ["shop_id", "recorded_at"],
        schema="crm",
        postgresql_where=sa.text("ip_address IS NOT NULL OR user_agent IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("suppression_mirrors", schema="crm")
    op.drop_table("sending_holds", schema="crm")
    op.drop_table("engagements", schema="crm")
    op.execute(f"DELETE FROM crm.audit_entries WHERE {check_of('action', ACTIONS)}")
    allow_actions(ours=False)
    op.drop_column("suppressions", "pushed_at", schema="crm")
    op.drop_column("suppressions", "source", schema="crm")
    op.drop_column("messages", "bounce_kind", schema="crm")
    op.drop_column("shops", "tracks_clicks", schema="crm")
