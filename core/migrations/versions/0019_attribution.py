"""For how long after a click an order is credited to the mail.

A column with a constant default: no row is rewritten. Whoever changes it is kept.

Revision ID: 0019
Revises: 0018
"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACTION = "change_attribution"
CHECK = "ck_audit_entries__action"
READ_CHECK = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'crm.audit_entries'::regclass AND conname = 'ck_audit_entries__action'
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column(
        "shops",
        sa.Column(
            "attribution_days", sa.SmallInteger(), server_default=sa.text("5"), nullable=False
        ),
        schema="crm",
    )
    op.create_check_constraint(
        op.f("ck_shops__attribution_days_fit"),
        "shops",
        "attribution_days BETWEEN 1 AND 30",
        schema="crm",
    )
    _admit([*_admitted(), ACTION])


def downgrade() -> None:
    # What was changed is gone with the column; its entry has no word in the older release.
    op.execute(f"DELETE FROM crm.audit_entries WHERE action = '{ACTION}'")
    _admit([each for each in _admitted() if each != ACTION])
    op.drop_constraint(op.f("ck_shops__attribution_days_fit"), "shops", schema="crm")
    op.drop_column("shops", "attribution_days", schema="crm")


def _admitted() -> list[str]:
    """By what earlier migrations came to."""
    definition: str = op.get_bind().exec_driver_sql(READ_CHECK).scalar_one()
    return re.findall(r"'([^']+)'", definition)


def _admit(actions: list[str]) -> None:
    listed = ", ".join(f"'{each}'" for each in actions)
    op.execute(f"ALTER TABLE crm.audit_entries DROP CONSTRAINT {CHECK}")
    op.execute(f"ALTER TABLE crm.audit_entries ADD CONSTRAINT {CHECK} CHECK (action IN ({listed}))")
