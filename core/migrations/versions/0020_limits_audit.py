"""Who changed the limits of a shop is kept.

Only a check admits another word; no row changes.

Revision ID: 0020
Revises: 0019
"""

import re

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ACTION = "change_limits"
CHECK = "ck_audit_entries__action"
READ_CHECK = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'crm.audit_entries'::regclass AND conname = 'ck_audit_entries__action'
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    _admit([*_admitted(), ACTION])


def downgrade() -> None:
    # What was changed stays so; its entry has no word in the older release.
    op.execute(f"DELETE FROM crm.audit_entries WHERE action = '{ACTION}'")
    _admit([each for each in _admitted() if each != ACTION])


def _admitted() -> list[str]:
    """By what earlier migrations came to."""
    definition: str = op.get_bind().exec_driver_sql(READ_CHECK).scalar_one()
    return re.findall(r"'([^']+)'", definition)


def _admit(actions: list[str]) -> None:
    listed = ", ".join(f"'{each}'" for each in actions)
    op.execute(f"ALTER TABLE crm.audit_entries DROP CONSTRAINT {CHECK}")
    op.execute(f"ALTER TABLE crm.audit_entries ADD CONSTRAINT {CHECK} CHECK (action IN ({listed}))")
