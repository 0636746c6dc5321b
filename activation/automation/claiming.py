"""Due enrolments: taken under lock with what decides where they go, and put where they then are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.automation.actions import Instruction
from activation.automation.definition import Definition, read_definition
from activation.automation.following import place_in
from core.arrays import array_text
from core.models.enums import EnrollmentState

CLAIM_DUE = text("""
-- Returns due enrolments of one shop, those due first first, with the versions that may apply: the
-- one they follow and the current one. Locks them; a row another worker holds is passed over.
-- Whoever is being merged waits until it is known whose enrolment stays.
-- Indexes ix_enrollments__due (it holds none that is over), ix_customer_merges__open; primary keys.
WITH due AS MATERIALIZED (
    SELECT
        enrollments.enrollment_id,
        enrollments.customer_id,
        enrollments.automation_id,
        enrollments.entry_key,
        enrollments.order_id,
        enrollments.is_held_out,
        enrollments.is_test,
        coalesce(enrollments.step_version, enrollments.version) AS followed_version,
        enrollments.step_position,
        enrollments.due_at
    FROM crm.enrollments
    WHERE
        enrollments.shop_id = :shop_id
        AND enrollments.state = 'active'
        AND enrollments.due_at <= :now
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.customer_merges AS merges
            WHERE
                merges.shop_id = enrollments.shop_id
                AND merges.applied_at IS NULL
                AND enrollments.customer_id IN (merges.deleted_customer_id, merges.kept_customer_id)
        )
    ORDER BY enrollments.due_at, enrollments.enrollment_id
    LIMIT :limit
    FOR UPDATE OF enrollments SKIP LOCKED
)

SELECT
    due.*,
    automations.key AS automation_key,
    automations.current_version,
    automations.is_active,
    shops.time_zone,
    customers.email
FROM due
INNER JOIN crm.automations
    ON automations.shop_id = :shop_id AND due.automation_id = automations.automation_id
INNER JOIN crm.shops ON shops.shop_id = :shop_id
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND due.customer_id = customers.customer_id
ORDER BY due.due_at, due.enrollment_id
""")

READ_VERSIONS = text("""
-- Returns these versions of automations. Changes nothing. Primary key.
SELECT versions.automation_id, versions.version, versions.definition
FROM unnest(CAST(:automation_ids AS integer []), CAST(:versions AS integer []))
    AS wanted (automation_id, version)
INNER JOIN crm.automation_versions AS versions
    ON
        versions.shop_id = :shop_id
        AND wanted.automation_id = versions.automation_id
        AND wanted.version = versions.version
""")

MOVE_ON = text("""
-- Changes crm.enrollments: where each claimed one stands now. Primary key.
UPDATE crm.enrollments
SET
    state = moved.state,
    step_version = moved.version,
    step_position = moved.step_position,
    due_at = moved.due_at,
    exit_reason = moved.exit_reason,
    finished_at = CASE WHEN moved.state <> 'active' THEN :now END
FROM
    unnest(
        CAST(:enrollment_ids AS bigint []),
        CAST(:states AS text []),
        CAST(:versions AS integer []),
        CAST(:positions AS integer []),
        CAST(:due_at AS timestamptz []),
        CAST(:exit_reasons AS text [])
    ) AS moved (enrollment_id, state, version, step_position, due_at, exit_reason)
WHERE
    enrollments.shop_id = :shop_id
    AND enrollments.enrollment_id = moved.enrollment_id
""")


@dataclass(frozen=True)
class Version:
    """A version of an automation, with its program."""

    number: int
    definition: Definition
    program: tuple[Instruction, ...]


@dataclass(slots=True)
class Claimed:
    """A due enrolment, the version it follows from here on, and where it stands in it. Nobody
    changes it; frozen, making it takes as long as reading it.
    """

    enrollment_id: int
    customer_id: int
    automation_id: int
    automation_key: str
    entry_key: str
    order_id: int | None
    is_held_out: bool
    is_test: bool
    is_on: bool
    email: str | None
    due_at: datetime
    zone: ZoneInfo
    version: Version
    position: int


@dataclass(frozen=True)
class Stand:
    """Where an enrolment stands after this round."""

    enrollment_id: int
    state: EnrollmentState
    version: int
    position: int
    due_at: datetime | None = None
    exit_reason: str | None = None


def claim(session: Session, shop_id: int, *, now: datetime, limit: int) -> list[Claimed]:
    """Up to `limit` due enrolments, locked until the transaction ends."""
    rows = session.execute(CLAIM_DUE, {"shop_id": shop_id, "now": now, "limit": limit}).all()
    wanted = {(row.automation_id, row.followed_version) for row in rows}
    wanted |= {(row.automation_id, row.current_version) for row in rows}
    versions = _read_versions(session, shop_id, wanted)
    return [_claimed(row, versions) for row in rows]


def move_on(session: Session, shop_id: int, stands: Sequence[Stand], *, now: datetime) -> None:
    session.execute(
        MOVE_ON,
        {
            "shop_id": shop_id,
            "now": now,
            "enrollment_ids": array_text(stand.enrollment_id for stand in stands),
            "states": [stand.state.value for stand in stands],
            "versions": array_text(stand.version for stand in stands),
            "positions": array_text(stand.position for stand in stands),
            "due_at": [stand.due_at for stand in stands],
            "exit_reasons": [stand.exit_reason for stand in stands],
        },
    )


def _read_versions(
    session: Session, shop_id: int, wanted: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Version]:
    pairs = sorted(wanted)
    if not pairs:
        return {}
    rows = session.execute(
        READ_VERSIONS,
        {
            "shop_id": shop_id,
            "automation_ids": array_text(automation_id for automation_id, _ in pairs),
            "versions": array_text(version for _, version in pairs),
        },
    )
    return {(row.automation_id, row.version): _version(row) for row in rows.all()}


def _version(row: Row[Any]) -> Version:
    definition = read_definition(row.definition)
    return Version(row.version, definition, definition.program)


def _claimed(row: Row[Any], versions: dict[tuple[int, int], Version]) -> Claimed:
    version = versions[row.automation_id, row.followed_version]
    position: int = row.step_position
    current = versions[row.automation_id, row.current_version]
    if current is not version:
        place = place_in(current.program, version.program, position)
        if place is not None:
            version, position = current, place
    return Claimed(
        enrollment_id=row.enrollment_id,
        customer_id=row.customer_id,
        automation_id=row.automation_id,
        automation_key=row.automation_key,
        entry_key=row.entry_key,
        order_id=row.order_id,
        is_held_out=row.is_held_out,
        is_test=row.is_test,
        is_on=row.is_active,
        email=row.email,
        due_at=row.due_at,
        zone=ZoneInfo(row.time_zone),
        version=version,
        position=position,
    )
