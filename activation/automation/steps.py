"""Hop 5: due enrolments move on; a `send_email` step becomes one row of the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, SendEmail, Wait, read_definition
from activation.dedupe import message_key
from activation.eligibility import Decision, Defer, Send, Skip, Subject, decide_all
from activation.refreshes import request_refreshes
from core.errors import PermanentError
from core.models import Message
from core.models.enums import DeferReason, EnrollmentState, MessageState, SkipReason

EXIT_ORDER_GONE = "order_no_longer_counts"

CLAIM_DUE = text("""
-- Returns due enrolments of one shop with both definitions that may apply, the one they entered
-- with and the current one. Locks them; a row another worker holds is passed over. Whoever is being
-- merged waits until it is known whose enrolment stays.
-- Indexes ix_enrollments__due, ix_customer_merges__open.
SELECT
    enrollments.enrollment_id,
    enrollments.customer_id,
    enrollments.automation_id,
    enrollments.entry_key,
    enrollments.order_id,
    enrollments.is_held_out,
    enrollments.step_position,
    enrollments.due_at,
    automations.key AS automation_key,
    enrollments.version AS entered_version,
    entered.definition AS entered_definition,
    automations.current_version,
    latest.definition AS current_definition,
    customers.email,
    enrollments.order_id IS NULL
    OR coalesce(orders.is_counted AND orders.customer_id = enrollments.customer_id, false)
        AS entry_holds
FROM crm.enrollments
INNER JOIN crm.automations
    ON
        enrollments.shop_id = automations.shop_id
        AND enrollments.automation_id = automations.automation_id
INNER JOIN crm.automation_versions AS entered
    ON
        enrollments.shop_id = entered.shop_id
        AND enrollments.automation_id = entered.automation_id
        AND enrollments.version = entered.version
INNER JOIN crm.automation_versions AS latest
    ON
        automations.shop_id = latest.shop_id
        AND automations.automation_id = latest.automation_id
        AND automations.current_version = latest.version
LEFT JOIN raw_shopify.orders
    ON enrollments.shop_id = orders.shop_id AND enrollments.order_id = orders.order_id
LEFT JOIN raw_shopify.customers
    ON
        enrollments.shop_id = customers.shop_id
        AND enrollments.customer_id = customers.customer_id
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
""")

MOVE_ON = text("""
-- Changes crm.enrollments: where each claimed one stands now. Primary key.
UPDATE crm.enrollments
SET
    state = moved.state,
    step_position = moved.step_position,
    due_at = moved.due_at,
    exit_reason = moved.exit_reason,
    finished_at = CASE WHEN moved.state <> 'active' THEN :now END
FROM
    unnest(
        CAST(:enrollment_ids AS bigint []),
        CAST(:states AS text []),
        CAST(:positions AS integer []),
        CAST(:due_at AS timestamptz []),
        CAST(:exit_reasons AS text [])
    ) AS moved (enrollment_id, state, step_position, due_at, exit_reason)
WHERE
    enrollments.shop_id = :shop_id
    AND enrollments.enrollment_id = moved.enrollment_id
""")


@dataclass(frozen=True)
class StepReport:
    """How many enrolments were claimed, and what became of them."""

    claimed: int = 0
    queued: int = 0
    skipped: int = 0
    exited: int = 0


@dataclass(frozen=True)
class Claimed:
    """A due enrolment, with the definition whose steps it follows from here on."""

    enrollment_id: int
    customer_id: int
    automation_id: int
    automation_key: str
    entry_key: str
    order_id: int | None
    is_held_out: bool
    entry_holds: bool
    email: str | None
    due_at: datetime
    version: int
    definition: Definition
    position: int


@dataclass(frozen=True)
class Stand:
    """Where an enrolment stands after this round."""

    enrollment_id: int
    state: EnrollmentState
    position: int
    due_at: datetime | None = None
    exit_reason: str | None = None


@dataclass(frozen=True)
class WaitUntil:
    position: int
    due_at: datetime


@dataclass(frozen=True)
class SendNow:
    position: int
    step: SendEmail
    due_at: datetime


@dataclass(frozen=True)
class Finished:
    position: int


Move: TypeAlias = WaitUntil | SendNow | Finished


@dataclass
class _Round:
    """What one transaction gathers before it writes."""

    stands: list[Stand] = field(default_factory=list)
    sends: list[tuple[Claimed, SendNow]] = field(default_factory=list)


def next_move(definition: Definition, position: int, due_at: datetime, *, now: datetime) -> Move:
    """Pass the waits that are over; stop at the first step that does something."""
    while position < len(definition.steps):
        step = definition.steps[position]
        if isinstance(step, SendEmail):
            return SendNow(position, step, due_at)
        if not isinstance(step, Wait):
            raise PermanentError(f"The step {step.step_key!r} cannot be taken yet.")
        due_at += step.duration
        position += 1
        if due_at > now:
            return WaitUntil(position, due_at)
    return Finished(position)


def run_due_steps(
    session: Session,
    shop_id: int,
    *,
    secret_key: SecretStr,
    now: datetime,
    run_id: str | None,
    limit: int = 500,
) -> StepReport:
    """Move up to `limit` due enrolments of a shop on, in the caller's transaction."""
    claimed = _claim(session, shop_id, now=now, limit=limit)
    if not claimed:
        return StepReport()
    gathered = _Round()
    for each in claimed:
        _gather(each, gathered, now=now)
    decisions = _decide(session, shop_id, gathered.sends, secret_key=secret_key, now=now)
    states = _write_messages(session, shop_id, gathered.sends, decisions, now=now, run_id=run_id)
    _move_on(session, shop_id, gathered.stands, now=now)
    return StepReport(
        claimed=len(claimed),
        queued=states.count(MessageState.QUEUED),
        skipped=states.count(MessageState.SKIPPED),
        exited=sum(stand.state is EnrollmentState.EXITED for stand in gathered.stands),
    )


def _gather(claimed: Claimed, gathered: _Round, *, now: datetime) -> None:
    if not claimed.entry_holds:
        gathered.stands.append(
            Stand(
                claimed.enrollment_id,
                EnrollmentState.EXITED,
                claimed.position,
                exit_reason=EXIT_ORDER_GONE,
            )
        )
        return
    move = next_move(claimed.definition, claimed.position, claimed.due_at, now=now)
    if isinstance(move, SendNow):
        gathered.sends.append((claimed, move))
    gathered.stands.append(_stand_after(claimed, move, now=now))


def _stand_after(claimed: Claimed, move: Move, *, now: datetime) -> Stand:
    if isinstance(move, WaitUntil):
        return Stand(claimed.enrollment_id, EnrollmentState.ACTIVE, move.position, move.due_at)
    following = move.position + 1
    if isinstance(move, Finished) or following >= len(claimed.definition.steps):
        return Stand(claimed.enrollment_id, EnrollmentState.COMPLETED, following)
    return Stand(claimed.enrollment_id, EnrollmentState.ACTIVE, following, now)


def _claim(session: Session, shop_id: int, *, now: datetime, limit: int) -> list[Claimed]:
    rows = session.execute(CLAIM_DUE, {"shop_id": shop_id, "now": now, "limit": limit}).mappings()
    read: dict[tuple[int, int], Definition] = {}
    return [_claimed(row, read) for row in rows]


def _claimed(row: Mapping[Any, Any], read: dict[tuple[int, int], Definition]) -> Claimed:
    version, definition = _version_to_follow(row, read)
    return Claimed(
        enrollment_id=row["enrollment_id"],
        customer_id=row["customer_id"],
        automation_id=row["automation_id"],
        automation_key=row["automation_key"],
        entry_key=row["entry_key"],
        order_id=row["order_id"],
        is_held_out=row["is_held_out"],
        entry_holds=row["entry_holds"],
        email=row["email"],
        due_at=row["due_at"],
        version=version,
        definition=definition,
        position=row["step_position"],
    )


def _version_to_follow(
    row: Mapping[Any, Any], read: dict[tuple[int, int], Definition]
) -> tuple[int, Definition]:
    """An edit holds for whoever has not reached the step; a position means the same in two
    versions only while their step keys are the same.
    """
    entered = _read(row, "entered_version", "entered_definition", read)
    current = _read(row, "current_version", "current_definition", read)
    if entered.step_keys == current.step_keys:
        return row["current_version"], current
    return row["entered_version"], entered


def _read(
    row: Mapping[Any, Any], version: str, column: str, read: dict[tuple[int, int], Definition]
) -> Definition:
    key = (row["automation_id"], row[version])
    if key not in read:
        read[key] = read_definition(row[column])
    return read[key]


def _write_messages(
    session: Session,
    shop_id: int,
    sends: Sequence[tuple[Claimed, SendNow]],
    decisions: Mapping[int, Decision],
    *,
    now: datetime,
    run_id: str | None,
) -> list[MessageState]:
    """One row per send, in the state its eligibility gives it; returns the states of new rows."""
    request_refreshes(
        session,
        shop_id,
        [claimed.customer_id for claimed, _ in sends],
        [decisions[claimed.enrollment_id] for claimed, _ in sends],
        now=now,
    )
    rows = [
        _message(shop_id, claimed, move, decisions[claimed.enrollment_id], now=now, run_id=run_id)
        for claimed, move in sends
    ]
    if not rows:
        return []
    statement = (
        insert(Message)
        .on_conflict_do_nothing(index_elements=["shop_id", "dedupe_key"])
        .returning(Message.state)
    )
    return list(session.scalars(statement, rows))


def _decide(
    session: Session,
    shop_id: int,
    sends: Sequence[tuple[Claimed, SendNow]],
    *,
    secret_key: SecretStr,
    now: datetime,
) -> dict[int, Decision]:
    subjects = [
        Subject(
            key=claimed.enrollment_id,
            customer_id=claimed.customer_id,
            automation_id=claimed.automation_id,
            order_id=claimed.order_id,
            expires_at=move.due_at + claimed.definition.late_after,
        )
        for claimed, move in sends
    ]
    decisions = decide_all(session, shop_id, subjects, secret_key=secret_key, now=now)
    held_out = [claimed.enrollment_id for claimed, _ in sends if claimed.is_held_out]
    return decisions | dict.fromkeys(held_out, Skip(SkipReason.HOLDOUT))


def _message(
    shop_id: int,
    claimed: Claimed,
    move: SendNow,
    decision: Decision,
    *,
    now: datetime,
    run_id: str | None,
) -> dict[str, Any]:
    is_skipped = isinstance(decision, Skip)
    return {
        "shop_id": shop_id,
        "dedupe_key": message_key(
            automation=claimed.automation_key,
            step_key=move.step.step_key,
            customer_id=claimed.customer_id,
            entry_key=claimed.entry_key,
        ),
        "automation_id": claimed.automation_id,
        "version": claimed.version,
        "step_key": move.step.step_key,
        "enrollment_id": claimed.enrollment_id,
        "customer_id": claimed.customer_id,
        "email": decision.email if isinstance(decision, Send) else claimed.email,
        "state": MessageState.SKIPPED if is_skipped else MessageState.QUEUED,
        "skip_reason": decision.reason if isinstance(decision, Skip) else None,
        "defer_reason": _waits_for(decision),
        "priority": claimed.definition.rules.priority,
        "due_at": decision.until if isinstance(decision, Defer) else move.due_at,
        "expires_at": move.due_at + claimed.definition.late_after,
        "run_id": run_id,
        "queued_at": now,
        "finished_at": now if is_skipped else None,
    }


def _waits_for(decision: Decision) -> DeferReason | None:
    """Why it waits, or would have had to for too long."""
    match decision:
        case Defer(reason=reason):
            return reason
        case Skip(waited_for=waited_for):
            return waited_for
        case Send():
            return None


def _move_on(session: Session, shop_id: int, stands: Sequence[Stand], *, now: datetime) -> None:
    session.execute(
        MOVE_ON,
        {
            "shop_id": shop_id,
            "now": now,
            "enrollment_ids": [stand.enrollment_id for stand in stands],
            "states": [stand.state.value for stand in stands],
            "positions": [stand.position for stand in stands],
            "due_at": [stand.due_at for stand in stands],
            "exit_reasons": [stand.exit_reason for stand in stands],
        },
    )
