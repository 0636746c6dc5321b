"""Segments: why a stay ended, why a run was held, who accepted it

Columns are added nullable, filled, then enforced; nothing here may hold a long lock. Filling locks
rows of the past, which nobody else changes.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CAUSES = ("baseline", "full_run", "order", "delete", "merge", "erase")
CAUSES_BEFORE = ("baseline", "full_run", "order", "erase")
CHECKS = (
    *("statistics_differ", "customers_fell", "orders_fell"),
    *("segments_swing", "orders_swing"),
)

HOLD_COLUMNS = (
    ("segments_held_at", sa.DateTime(timezone=True)),
    ("segments_held_check", sa.String(40)),
    ("segments_held_reason", sa.Text()),
    ("segments_held_run_id", sa.Text()),
)

# What began the next stay in the same instant ended this one. The other ends (a merge, a customer
# who was gone, an erasure, which tore a person's stays apart) left no trace of why: unknown.
FILL_EXITS = """
UPDATE crm.segment_memberships AS ended
SET exit_cause = following.cause, exit_run_id = following.run_id
FROM crm.segment_memberships AS following
WHERE
    ended.exited_at IS NOT NULL
    AND ended.customer_id > 0
    AND following.shop_id = ended.shop_id
    AND following.customer_id = ended.customer_id
    AND following.entered_at = ended.exited_at
    AND following.membership_id > ended.membership_id
    AND (following.previous_segment = ended.segment OR following.cause = 'baseline')
"""

# The words of 0002's gate, whose check had no column.
FILL_CHECKS = """
UPDATE crm.rfm_runs
SET
    held_check = CASE
        WHEN held_reason LIKE 'The statistics of %' THEN 'statistics_differ'
        WHEN held_reason LIKE 'There are % customers, %' THEN 'customers_fell'
        WHEN held_reason LIKE 'There are % orders, %' THEN 'orders_fell'
        WHEN held_reason LIKE '% would change their segment %' THEN 'segments_swing'
    END
WHERE held_reason IS NOT NULL
"""

# Shops whose last full run is held.
FILL_HOLDS = """
UPDATE crm.shops
SET
    segments_held_at = last_run.decided_at,
    segments_held_check = last_run.held_check,
    segments_held_reason = last_run.held_reason,
    segments_held_run_id = last_run.rfm_run_id
FROM (
    SELECT DISTINCT ON (rfm_runs.shop_id)
        rfm_runs.shop_id,
        rfm_runs.rfm_run_id,
        rfm_runs.state,
        rfm_runs.decided_at,
        rfm_runs.held_check,
        rfm_runs.held_reason
    FROM crm.rfm_runs
    ORDER BY rfm_runs.shop_id ASC, rfm_runs.decided_at DESC, rfm_runs.rfm_run_id DESC
) AS last_run
WHERE shops.shop_id = last_run.shop_id AND last_run.state = 'held'
"""


def _enforce(table: str, name: str, condition: str) -> None:
    """NOT VALID first: the check of old rows then locks nobody out."""
    op.execute(f"ALTER TABLE crm.{table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE crm.{table} VALIDATE CONSTRAINT {name}")


def _listed(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _allow_causes(values: Sequence[str]) -> None:
    name = "ck_segment_memberships__cause"
    op.execute(f"ALTER TABLE crm.segment_memberships DROP CONSTRAINT {name}")
    _enforce("segment_memberships", name, _listed("cause", values))


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("audit_entry_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column(
            "action",
            sa.Enum(
                "accept_held_data",
                name="action",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("about", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["crm.shops.shop_id"], name=op.f("fk_audit_entries__shop_id")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["crm.users.user_id"], name=op.f("fk_audit_entries__user_id")
        ),
        sa.PrimaryKeyConstraint("shop_id", "audit_entry_id", name=op.f("pk_audit_entries")),
        schema="crm",
    )
    op.create_index(
        "ix_audit_entries__acted",
        "audit_entries",
        ["shop_id", "acted_at"],
        unique=False,
        schema="crm",
    )
    op.add_column("rfm_runs", sa.Column("held_check", sa.String(40), nullable=True), schema="crm")
    op.add_column(
        "rfm_runs", sa.Column("entered_count", sa.BigInteger(), nullable=True), schema="crm"
    )
    op.add_column(
        "rfm_runs", sa.Column("exited_count", sa.BigInteger(), nullable=True), schema="crm"
    )
    op.execute(FILL_CHECKS)
    _enforce("rfm_runs", "ck_rfm_runs__held_check", _listed("held_check", CHECKS))
    for name, kind in HOLD_COLUMNS:
        op.add_column("shops", sa.Column(name, kind, nullable=True), schema="crm")
    op.execute(FILL_HOLDS)
    _enforce("shops", "ck_shops__segments_held_check", _listed("segments_held_check", CHECKS))
    op.add_column(
        "segment_memberships", sa.Column("exit_cause", sa.String(40), nullable=True), schema="crm"
    )
    op.add_column(
        "segment_memberships", sa.Column("exit_run_id", sa.Text(), nullable=True), schema="crm"
    )
    _allow_causes(CAUSES)
    op.execute(FILL_EXITS)
    # Two runs at once could close a stay at an instant before it began: it lasted no time.
    op.execute(
        "UPDATE crm.segment_memberships SET exited_at = entered_at WHERE exited_at < entered_at"
    )
    _enforce(
        "segment_memberships",
        "ck_segment_memberships__exit_cause",
        _listed("exit_cause", CAUSES),
    )
    _enforce(
        "segment_memberships",
        "ck_segment_memberships__ends_after_it_began",
        "exited_at >= entered_at",
    )
    _enforce(
        "segment_memberships",
        "ck_segment_memberships__only_ends_have_causes",
        "exited_at IS NOT NULL OR exit_cause IS NULL",
    )


def downgrade() -> None:
    for name in ("only_ends_have_causes", "ends_after_it_began"):
        op.execute(
            f"ALTER TABLE crm.segment_memberships DROP CONSTRAINT ck_segment_memberships__{name}"
        )
    op.drop_column("segment_memberships", "exit_run_id", schema="crm")
    op.drop_column("segment_memberships", "exit_cause", schema="crm")
    # A stay that such a cause began cannot be told from others any more.
    op.execute(
        "UPDATE crm.segment_memberships SET cause = 'order' WHERE cause IN ('delete', 'merge')"
    )
    _allow_causes(CAUSES_BEFORE)
    for name, _ in HOLD_COLUMNS:
        op.drop_column("shops", name, schema="crm")
    op.drop_column("rfm_runs", "exited_count", schema="crm")
    op.drop_column("rfm_runs", "entered_count", schema="crm")
    op.drop_column("rfm_runs", "held_check", schema="crm")
    op.drop_index("ix_audit_entries__acted", table_name="audit_entries", schema="crm")
    op.drop_table("audit_entries", schema="crm")
