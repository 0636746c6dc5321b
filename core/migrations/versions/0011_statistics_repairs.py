"""A person may have the statistics of a shop computed anew, and it is kept that they did.

Only a check admits another word; no row changes.

Revision ID: 0011
Revises: 0010
"""

import re

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ACTION = "repair_statistics"
CHECK = "ck_audit_entries__action"
READ_CHECK = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'crm.audit_entries'::regclass AND conname = 'ck_audit_entries__action'
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    _admit([*_admitted(), ACTION])


def downgrade() -> None:
    # What was repaired stays so; its entry has no word in the older release.
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
