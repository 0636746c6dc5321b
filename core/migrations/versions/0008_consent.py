"""The ledger of consent, what somebody does not want to get, and who was asked to confirm.

New tables and nullable columns; of old rows nothing is changed. Consents that Shopify told of
before are written to the ledger by the first activation runs, with Shopify's own times.

Revision ID: 0008
Revises: 0007
"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STANDINGS = (
    *("SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING", "UNSUBSCRIBED", "INVALID", "REDACTED"),
    "SUPPRESSED",
)
SOURCES = (
    *("shopify", "one_click", "page", "undo", "double_opt_in", "complaint", "hard_bounce"),
    *("owner", "import"),
)
REASONS = ("too_many", "not_relevant", "never_asked", "done_here", "other")
ADDED_VALUES = (
    ("messages", "skip_reason", ("opted_out",)),
    ("messages", "defer_reason", ("not_confirmed",)),
    ("audit_entries", "action", ("set_double_opt_in",)),
)

# Of a row that is there only what is personal may be taken away, and nothing be put in its place.
KEEP_EVENT = """
CREATE FUNCTION crm.keep_consent_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_personal text [] := ARRAY[
        'email_normalized', 'customer_id', 'reason_text', 'ip', 'user_agent'
    ];
BEGIN
    -- What the new row has must be in the old: all of it, and of what is personal any part.
    IF to_jsonb(new) - v_personal <> to_jsonb(old) - v_personal
        OR NOT to_jsonb(old) @> jsonb_strip_nulls(to_jsonb(new))
    THEN
        RAISE EXCEPTION 'crm.consent_events is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END
$$
"""
KEEP_EVENTS = """
CREATE FUNCTION crm.keep_consent_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1
        FROM (SELECT DISTINCT shop_id FROM gone) AS shops
        WHERE NOT EXISTS (
            SELECT 1
            FROM crm.privacy_requests AS requests
            WHERE requests.shop_id = shops.shop_id
                AND requests.kind = 'shop_redact'
                AND requests.state = 'pending'
        )
    ) THEN
        RAISE EXCEPTION 'crm.consent_events is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$
"""


def _words(values: Sequence[str], name: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _shop(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["shop_id"], ["crm.shops.shop_id"], name=op.f(f"fk_{table}__shop_id")
    )


def _automation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["shop_id", "automation_id"],
        ["crm.automations.shop_id", "crm.automations.automation_id"],
        name=op.f(f"fk_{table}__shop_id_automation_id"),
    )


def _moment(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=None if default is None else sa.text(default),
        nullable=nullable,
    )


def _allowed(table: str, column: str) -> list[str]:
    """The values that the check of a column admits by now."""
    found: str = (
        op.get_bind()
        .execute(
            sa.text(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conname = :name AND conrelid = CAST(:table AS regclass)"
            ),
            {"name": f"ck_{table}__{column}", "table": f"crm.{table}"},
        )
        .scalar_one()
    )
    return re.findall(r"'([^']+)'", found)


def _allow(table: str, column: str, values: Sequence[str]) -> None:
    """NOT VALID first: the check of old rows then locks nobody out."""
    name = f"ck_{table}__{column}"
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute(f"ALTER TABLE crm.{table} DROP CONSTRAINT {name}")
    op.execute(
        f"ALTER TABLE crm.{table} ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID"
    )
    op.execute(f"ALTER TABLE crm.{table} VALIDATE CONSTRAINT {name}")


def _create_events() -> None:
    op.create_table(
        "consent_events",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("consent_event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("email_normalized", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("automation_id", sa.Integer(), nullable=True),
        sa.Column("state_before", _words(STANDINGS, "state_before"), nullable=True),
        sa.Column("state_after", _words(STANDINGS, "state_after"), nullable=False),
        sa.Column("level", sa.Text(), nullable=True),
        _moment("occurred_at"),
        _moment("recorded_at", default="clock_timestamp()"),
        sa.Column("source", _words(SOURCES, "source"), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("wording_version", sa.Text(), nullable=True),
        sa.Column("wording", sa.Text(), nullable=True),
        sa.Column("reason", _words(REASONS, "reason"), nullable=True),
        sa.Column("reason_text", sa.Text(), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["crm.users.user_id"], name=op.f("fk_consent_events__user_id")
        ),
        _shop("consent_events"),
        _automation("consent_events"),
        sa.PrimaryKeyConstraint("shop_id", "consent_event_id", name=op.f("pk_consent_events")),
        schema="crm",
    )
    op.create_index(
        "ix_consent_events__address",
        "consent_events",
        ["shop_id", "email_normalized", "consent_event_id"],
        schema="crm",
    )
    op.create_index(
        "ix_consent_events__customer",
        "consent_events",
        ["shop_id", "customer_id", "consent_event_id"],
        schema="crm",
    )
    op.create_index(
        "uq_consent_events__told",
        "consent_events",
        ["shop_id", "customer_id", "email_normalized", "state_after", "occurred_at"],
        unique=True,
        schema="crm",
        postgresql_where=sa.text("source = 'shopify'"),
    )
    op.create_index(
        "ix_consent_events__network",
        "consent_events",
        ["shop_id", "occurred_at"],
        schema="crm",
        postgresql_where=sa.text("ip IS NOT NULL"),
    )
    op.execute(KEEP_EVENT)
    op.execute(KEEP_EVENTS)
    op.execute(
        "CREATE TRIGGER keep_consent_event BEFORE UPDATE ON crm.consent_events"
        " FOR EACH ROW EXECUTE FUNCTION crm.keep_consent_event()"
    )
    op.execute(
        "CREATE TRIGGER keep_consent_events AFTER DELETE ON crm.consent_events"
        " REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION crm.keep_consent_events()"
    )


def upgrade() -> None:
    _create_events()
    op.create_table(
        "consent_policies",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("double_opt_in", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("double_opt_in_since", nullable=True),
        _moment("compare_at", default="clock_timestamp()"),
        sa.Column("compared_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        _shop("consent_policies"),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_consent_policies")),
        schema="crm",
    )
    op.create_table(
        "consent_confirmations",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("email_normalized", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        _moment("given_at"),
        _moment("asked_at"),
        sa.Column("asked_count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        _moment("confirmed_at", nullable=True),
        _moment("revoked_at", nullable=True),
        _shop("consent_confirmations"),
        sa.PrimaryKeyConstraint(
            "shop_id", "email_normalized", name=op.f("pk_consent_confirmations")
        ),
        schema="crm",
    )
    op.create_index(
        "ix_consent_confirmations__asked",
        "consent_confirmations",
        ["shop_id", "asked_at"],
        schema="crm",
    )
    op.create_table(
        "opt_outs",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("email_normalized", sa.Text(), nullable=False),
        sa.Column("automation_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        _moment("opted_out_at"),
        _moment("lifted_at", nullable=True),
        _automation("opt_outs"),
        sa.PrimaryKeyConstraint(
            "shop_id", "email_normalized", "automation_id", name=op.f("pk_opt_outs")
        ),
        schema="crm",
    )
    op.add_column("write_backs", sa.Column("consent_level", sa.Text(), nullable=True), schema="crm")
    for table, column, added in ADDED_VALUES:
        _allow(table, column, [*_allowed(table, column), *added])


def downgrade() -> None:
    op.execute(
        "UPDATE crm.messages SET skip_reason = 'unsubscribed' WHERE skip_reason = 'opted_out'"
    )
    op.execute("UPDATE crm.messages SET defer_reason = NULL WHERE defer_reason = 'not_confirmed'")
    op.execute("DELETE FROM crm.audit_entries WHERE action = 'set_double_opt_in'")
    for table, column, added in ADDED_VALUES:
        _allow(table, column, [each for each in _allowed(table, column) if each not in added])
    op.drop_column("write_backs", "consent_level", schema="crm")
    for table in ("opt_outs", "consent_confirmations", "consent_policies", "consent_events"):
        op.drop_table(table, schema="crm")
    op.execute("DROP FUNCTION crm.keep_consent_event()")
    op.execute("DROP FUNCTION crm.keep_consent_events()")
