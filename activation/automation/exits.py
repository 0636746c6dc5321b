"""Writing down that somebody left a flow while their mail was on its way."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.arrays import array_text
from core.models.enums import ExitReason

# A mail may be the last step, and its flow have been done before it left: that is over as well.
# An enrolment that moves on at this very moment is passed over: steps are taken by whoever locks
# enrolments first and customers after, and here it is the other way round. Whoever moves it has
# looked at the same exits.
RECORD_EXITS = text("""
-- Changes crm.enrollments: whose mail was skipped because they left is over. Primary key.
UPDATE crm.enrollments
SET
    state = 'exited',
    exit_reason = leaving.reason,
    due_at = NULL,
    finished_at = :now
FROM (
    SELECT enrollments.enrollment_id, exits.reason
    FROM
        unnest(CAST(:enrollment_ids AS bigint []), CAST(:reasons AS text []))
            AS exits (enrollment_id, reason)
    INNER JOIN crm.enrollments
        ON
            enrollments.shop_id = :shop_id
            AND exits.enrollment_id = enrollments.enrollment_id
    WHERE enrollments.state IN ('active', 'completed')
    ORDER BY enrollments.enrollment_id
    FOR UPDATE OF enrollments SKIP LOCKED
) AS leaving
WHERE enrollments.shop_id = :shop_id AND enrollments.enrollment_id = leaving.enrollment_id
""")


def record_exits(
    session: Session, shop_id: int, reasons: Mapping[int, ExitReason], *, now: datetime
) -> None:
    """End these enrolments, by their number, where they are not over already."""
    if reasons:
        session.execute(
            RECORD_EXITS,
            {
                "shop_id": shop_id,
                "now": now,
                "enrollment_ids": array_text(reasons),
                "reasons": [reason.value for reason in reasons.values()],
            },
        )
