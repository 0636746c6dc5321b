"""The messages of a batch: read under lock, judged, and put where the judgement says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.automation.exits import record_exits
from activation.dedupe import is_displaced
from activation.eligibility import Decision, Defer, Skip, Stage, Subject, decide_all
from activation.eligibility.turns import give_back
from activation.refreshes import request_refreshes
from core.arrays import array_text
from core.models.enums import DeferReason, ExitReason, MessageState, SkipReason

_COLUMNS = """
    messages.message_id,
    messages.automation_id,
    messages.version,
    messages.step_key,
    messages.customer_id,
    messages.email,
    messages.due_at,
    messages.expires_at,
    messages.defer_reason,
    messages.priority,
    messages.is_test,
    messages.dedupe_key,
    enrollments.order_id,
    messages.batch_id,
    messages.enrollment_id
FROM crm.messages
LEFT JOIN crm.enrollments
    ON
        messages.shop_id = enrollments.shop_id
        AND messages.enrollment_id = enrollments.enrollment_id
"""

READ_PRIORITIES = text("""
-- Returns the priorities of which a message is due, most urgent first. Changes nothing. One look
-- into ix_messages__claim for each priority that is queued, however many messages are.
WITH RECURSIVE queue AS (
    (
        SELECT messages.priority, messages.due_at
        FROM crm.messages
        WHERE messages.shop_id = :shop_id AND messages.state = 'queued'
        ORDER BY messages.priority, messages.due_at
        LIMIT 1
    )
    UNION ALL
    SELECT following.priority, following.due_at
    FROM queue
    CROSS JOIN LATERAL (
        SELECT messages.priority, messages.due_at
        FROM crm.messages
        WHERE
            messages.shop_id = :shop_id
            AND messages.state = 'queued'
            AND messages.priority > queue.priority
        ORDER BY messages.priority, messages.due_at
        LIMIT 1
    ) AS following
)

SELECT priority FROM queue WHERE due_at <= :now ORDER BY priority
""")

CLAIM_QUEUED = text(f"""
-- Returns due messages of one shop and priority, oldest first, and locks them; a row another worker
-- holds is passed over. Index ix_messages__claim.
SELECT {_COLUMNS}
WHERE
    messages.shop_id = :shop_id
    AND messages.state = 'queued'
    AND messages.priority = :priority
    AND messages.due_at <= :now
ORDER BY messages.due_at, messages.message_id
LIMIT :limit
FOR UPDATE OF messages SKIP LOCKED
""")

LOCK_FROZEN = text(f"""
-- Returns the members of these batches that are still frozen, and locks them in the order of
-- events/, which change the same rows. Index ix_messages__batch.
SELECT {_COLUMNS}
WHERE
    messages.shop_id = :shop_id
    AND messages.batch_id = ANY(CAST(:batch_ids AS bigint []))
    AND messages.state = 'frozen'
ORDER BY messages.message_id
FOR UPDATE OF messages
""")

SETTLE = text("""
-- Changes crm.messages: back to the queue, now or later, or finished for good. Primary key.
UPDATE crm.messages
SET
    state = settled.state,
    skip_reason = settled.skip_reason,
    defer_reason = settled.defer_reason,
    failure = settled.failure,
    due_at = settled.due_at,
    batch_id = NULL,
    batch_position = NULL,
    frozen_at = NULL,
    finished_at = CASE WHEN settled.state <> 'queued' THEN :now END
FROM
    unnest(
        CAST(:message_ids AS bigint []),
        CAST(:states AS text []),
        CAST(:skip_reasons AS text []),
        CAST(:defer_reasons AS text []),
        CAST(:failures AS text []),
        CAST(:due_at AS timestamptz [])
    ) AS settled (message_id, state, skip_reason, defer_reason, failure, due_at)
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = settled.message_id
    AND messages.state IN ('queued', 'frozen')
""")


@dataclass(slots=True)
class Member:
    """A message as far as freezing needs it, in the order of its columns. Instants are business
    time. Nobody changes it.
    """

    message_id: int
    automation_id: int
    version: int
    step_key: str
    customer_id: int | None
    email: str | None
    due_at: datetime
    expires_at: datetime
    defer_reason: DeferReason | None
    priority: int
    is_test: bool
    dedupe_key: str
    order_id: int | None
    batch_id: int | None = None
    enrollment_id: int | None = None


@dataclass(frozen=True)
class Failed:
    """It cannot be rendered, or the provider refuses this one; `words` are shown."""

    words: str


def claim_queued(session: Session, shop_id: int, *, now: datetime, limit: int) -> list[Member]:
    """Up to `limit` due messages, the most urgent first, locked until the transaction ends."""
    members: list[Member] = []
    for priority in session.scalars(READ_PRIORITIES, {"shop_id": shop_id, "now": now}).all():
        rows = session.execute(
            CLAIM_QUEUED,
            {
                "shop_id": shop_id,
                "priority": priority,
                "now": now,
                "limit": limit - len(members),
            },
        )
        members += [_member(row) for row in rows.all()]
        if len(members) >= limit:
            break
    return members


def lock_frozen(session: Session, shop_id: int, batch_id: int) -> list[Member]:
    return lock_all_frozen(session, shop_id, [batch_id])


def lock_all_frozen(session: Session, shop_id: int, batch_ids: Sequence[int]) -> list[Member]:
    """The members of these batches that no event has moved on; in no particular order."""
    rows = session.execute(LOCK_FROZEN, {"shop_id": shop_id, "batch_ids": array_text(batch_ids)})
    return [_member(row) for row in rows.all()]


def judge(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    *,
    secret_key: SecretStr,
    now: datetime,
    stage: Stage,
) -> dict[int, Decision]:
    """Eligibility of each member now; asks Shopify where consent is unknown.

    Who is let through at `Stage.FREEZE` must be frozen in the same transaction.
    """
    subjects = [_subject(member) for member in members]
    decisions = decide_all(session, shop_id, subjects, secret_key=secret_key, now=now, stage=stage)
    displaced = [each.message_id for each in members if is_displaced(each.dedupe_key)]
    decisions |= dict.fromkeys(displaced, Skip(SkipReason.EXITED))
    request_refreshes(
        session,
        shop_id,
        [member.customer_id for member in members],
        [decisions[member.message_id] for member in members],
        now=now,
    )
    return decisions


def settle(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    outcomes: Mapping[int, Decision | Failed],
    *,
    now: datetime,
) -> None:
    """Take members out of any batch: skipped, failed, deferred, or queued again as they were.

    What will never leave counts for no cap any more, and whoever waited for it is looked at again.
    """
    rows = [_settled(member, outcomes.get(member.message_id)) for member in members]
    if not rows:
        return
    columns = ("message_ids", "states", "skip_reasons", "defer_reasons", "failures", "due_at")
    session.execute(
        SETTLE,
        {"shop_id": shop_id, "now": now}
        | dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)),
    )
    gone = [each.email for each in members if _is_over(outcomes.get(each.message_id))]
    give_back(session, shop_id, gone, now=now)
    record_exits(session, shop_id, _exits(members, outcomes), now=now)


def _exits(
    members: Sequence[Member], outcomes: Mapping[int, Decision | Failed]
) -> dict[int, ExitReason]:
    """Why the enrolments of those that are skipped for it end."""
    exits = {}
    for member in members:
        outcome = outcomes.get(member.message_id)
        if isinstance(outcome, Skip) and outcome.exit and member.enrollment_id is not None:
            exits[member.enrollment_id] = outcome.exit
    return exits


def _is_over(outcome: Decision | Failed | None) -> bool:
    return isinstance(outcome, Skip | Failed)


def _settled(
    member: Member, outcome: Decision | Failed | None
) -> tuple[int, str, str | None, str | None, str | None, datetime]:
    queued = MessageState.QUEUED.value
    match outcome:
        case Skip(reason=reason, waited_for=waited_for):
            state = MessageState.SKIPPED.value
            waited = waited_for and waited_for.value
            return member.message_id, state, reason.value, waited, None, member.due_at
        case Failed(words):
            state = MessageState.FAILED.value
            return member.message_id, state, None, None, words, member.due_at
        case Defer(reason=reason, until=until):
            return member.message_id, queued, None, reason.value, None, until
        case _:
            return member.message_id, queued, None, None, None, member.due_at


def _subject(member: Member) -> Subject:
    return Subject(
        key=member.message_id,
        customer_id=member.customer_id,
        automation_id=member.automation_id,
        order_id=member.order_id,
        expires_at=member.expires_at,
        due_at=member.due_at,
        priority=member.priority,
        waits_for=member.defer_reason,
        is_test=member.is_test,
        enrollment_id=member.enrollment_id,
    )


def _member(row: Row[Any]) -> Member:
    values: tuple[Any, ...] = tuple(row)
    member = Member(*values)
    if member.defer_reason is not None:
        member.defer_reason = DeferReason(member.defer_reason)
    return member
