"""Hop 5: due enrolments move on. A mail becomes one row of the ledger, a tag one wish to Shopify.

claiming    which are due, and where they stand afterwards
following   which version they follow, after edits
walking     from where they stand to the next wait that is not over
conditions  what branches ask
exits       who leaves before the end is said by activation/eligibility/exits.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.actions import AddTag, Condition, Fork, RemoveTag, SendEmail
from activation.automation.claiming import Claimed, Stand, claim, move_on
from activation.automation.conditions import Standing, holds, read_standings
from activation.automation.walking import Due, Walked, walk
from activation.dedupe import message_key
from activation.eligibility import Decision, Defer, Send, Skip, Subject, decide_all
from activation.eligibility.exits import read_exits
from activation.refreshes import request_refreshes
from activation.writeback import TagWish, request_tags
from core.models.enums import (
    DeferReason,
    EnrollmentState,
    ExitReason,
    MessageState,
    SkipReason,
)

UNKNOWN_STANDING: Final = Standing()
COLUMNS: Final = (
    "dedupe_keys",
    "automation_ids",
    "versions",
    "step_keys",
    "enrollment_ids",
    "customer_ids",
    "emails",
    "are_tests",
    "states",
    "skip_reasons",
    "defer_reasons",
    "priorities",
    "due_at",
    "expires_at",
)

INSERT_MESSAGES = text("""
-- Returns the states of new rows. Changes crm.messages: one row per mail, unless it is there.
-- Index uq_messages__shop_id_dedupe_key.
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, enrollment_id, customer_id, email,
    is_test, state, skip_reason, defer_reason, priority, due_at, expires_at, run_id, queued_at,
    finished_at
)
SELECT
    :shop_id,
    mails.dedupe_key,
    mails.automation_id,
    mails.version,
    mails.step_key,
    mails.enrollment_id,
    mails.customer_id,
    mails.email,
    mails.is_test,
    mails.state,
    mails.skip_reason,
    mails.defer_reason,
    mails.priority,
    mails.due_at,
    mails.expires_at,
    :run_id,
    :now,
    CASE WHEN mails.state = 'skipped' THEN CAST(:now AS timestamptz) END
FROM
    unnest(
        CAST(:dedupe_keys AS text []),
        CAST(:automation_ids AS integer []),
        CAST(:versions AS integer []),
        CAST(:step_keys AS text []),
        CAST(:enrollment_ids AS bigint []),
        CAST(:customer_ids AS bigint []),
        CAST(:emails AS text []),
        CAST(:are_tests AS boolean []),
        CAST(:states AS text []),
        CAST(:skip_reasons AS text []),
        CAST(:defer_reasons AS text []),
        CAST(:priorities AS smallint []),
        CAST(:due_at AS timestamptz []),
        CAST(:expires_at AS timestamptz [])
    ) AS mails (
        dedupe_key, automation_id, version, step_key, enrollment_id, customer_id, email, is_test,
        state, skip_reason, defer_reason, priority, due_at, expires_at
    )
ON CONFLICT (shop_id, dedupe_key) DO NOTHING
RETURNING state
""")


@dataclass(frozen=True)
class StepReport:
    """How many enrolments were claimed, and what became of them."""

    claimed: int = 0
    queued: int = 0
    skipped: int = 0
    exited: int = 0
    tags: int = 0


@dataclass(frozen=True)
class _Mail:
    """A mail that is due. `key` is of this round: an enrolment may have several."""

    key: int
    claimed: Claimed
    step: SendEmail
    due_at: datetime

    @property
    def expires_at(self) -> datetime:
        return self.due_at + self.claimed.version.definition.late_after


def run_due_steps(
    session: Session,
    shop_id: int,
    *,
    secret_key: SecretStr,
    now: datetime,
    run_id: str | None,
    limit: int = 500,
) -> StepReport:
    """Move up to `limit` due enrolments of a shop on, in the caller's transaction: each past all
    that is due by now, to its next wait or its end.
    """
    claimed = claim(session, shop_id, now=now, limit=limit)
    if not claimed:
        return StepReport()
    exits = read_exits(
        session,
        shop_id,
        {each.enrollment_id: each.enrollment_id for each in claimed},
        automation_ids={each.automation_id for each in claimed},
    )
    staying = [each for each in claimed if each.enrollment_id not in exits]
    standings = read_standings(
        session, shop_id, [each.customer_id for each in staying if _may_branch(each)]
    )
    walked = [(each, _walk(each, standings, now=now)) for each in staying]
    mails = _mails(walked)
    decisions = _decide(session, shop_id, mails, secret_key=secret_key, now=now)
    states = _write_messages(session, shop_id, mails, decisions, now=now, run_id=run_id)
    tags = request_tags(session, shop_id, _tag_wishes(walked), at=now)
    stands = [_stand_after(each, walk) for each, walk in walked]
    stands += [
        _left(each, exits[each.enrollment_id]) for each in claimed if each.enrollment_id in exits
    ]
    move_on(session, shop_id, stands, now=now)
    return StepReport(
        claimed=len(claimed),
        queued=states.count(MessageState.QUEUED),
        skipped=states.count(MessageState.SKIPPED),
        exited=len(exits),
        tags=tags,
    )


def _may_branch(claimed: Claimed) -> bool:
    return any(isinstance(each, Fork) for each in claimed.version.program[claimed.position :])


def _walk(claimed: Claimed, standings: Mapping[int, Standing], *, now: datetime) -> Walked:
    standing = standings.get(claimed.customer_id, UNKNOWN_STANDING)

    def answer(condition: Condition, done: Sequence[Due]) -> bool:
        return holds(condition, standing, done if claimed.is_on else ())

    return walk(
        claimed.version.program,
        claimed.position,
        claimed.due_at,
        now=now,
        zone=claimed.zone,
        holds=answer,
    )


def _stand_after(claimed: Claimed, walked: Walked) -> Stand:
    is_over = walked.due_at is None
    return Stand(
        claimed.enrollment_id,
        EnrollmentState.COMPLETED if is_over else EnrollmentState.ACTIVE,
        claimed.version.number,
        walked.position,
        walked.due_at,
    )


def _left(claimed: Claimed, reason: ExitReason) -> Stand:
    return Stand(
        claimed.enrollment_id,
        EnrollmentState.EXITED,
        claimed.version.number,
        claimed.position,
        exit_reason=reason.value,
    )


def _mails(walked: Sequence[tuple[Claimed, Walked]]) -> list[_Mail]:
    due = [
        (claimed, each.step, each.due_at)
        for claimed, walk in walked
        for each in walk.actions
        if isinstance(each.step, SendEmail)
    ]
    return [_Mail(-key, *each) for key, each in enumerate(due, 1)]


def _tag_wishes(walked: Sequence[tuple[Claimed, Walked]]) -> list[TagWish]:
    """Of those held out too, and without asking for consent; of a flow that is off none."""
    return [
        TagWish(
            claimed.customer_id,
            each.step.tag,
            is_added=isinstance(each.step, AddTag),
            occasion=f"{claimed.automation_key}/{each.step.step_key}/{claimed.entry_key}",
        )
        for claimed, walk in walked
        for each in walk.actions
        if isinstance(each.step, AddTag | RemoveTag) and claimed.is_on
    ]


def _decide(
    session: Session,
    shop_id: int,
    mails: Sequence[_Mail],
    *,
    secret_key: SecretStr,
    now: datetime,
) -> dict[int, Decision]:
    """Exits have been looked at in this very transaction, so no enrolment is named here."""
    subjects = [
        Subject(
            key=mail.key,
            customer_id=mail.claimed.customer_id,
            automation_id=mail.claimed.automation_id,
            order_id=mail.claimed.order_id,
            expires_at=mail.expires_at,
            is_test=mail.claimed.is_test,
        )
        for mail in mails
    ]
    decisions = decide_all(session, shop_id, subjects, secret_key=secret_key, now=now)
    held_out = [mail.key for mail in mails if mail.claimed.is_held_out]
    return decisions | dict.fromkeys(held_out, Skip(SkipReason.HOLDOUT))


def _write_messages(
    session: Session,
    shop_id: int,
    mails: Sequence[_Mail],
    decisions: Mapping[int, Decision],
    *,
    now: datetime,
    run_id: str | None,
) -> list[MessageState]:
    """One row per mail, in the state its eligibility gives it; returns the states of new rows."""
    if not mails:
        return []
    request_refreshes(
        session,
        shop_id,
        [mail.claimed.customer_id for mail in mails],
        [decisions[mail.key] for mail in mails],
        now=now,
    )
    rows = [_row(mail, decisions[mail.key]) for mail in mails]
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    made = session.execute(
        INSERT_MESSAGES, {"shop_id": shop_id, "now": now, "run_id": run_id} | columns
    )
    return [MessageState(row.state) for row in made.all()]


def _row(mail: _Mail, decision: Decision) -> tuple[Any, ...]:
    """In the order of `COLUMNS`."""
    claimed = mail.claimed
    is_skipped = isinstance(decision, Skip)
    waits_for = _waits_for(decision)
    return (
        message_key(
            automation=claimed.automation_key,
            step_key=mail.step.step_key,
            customer_id=claimed.customer_id,
            entry_key=claimed.entry_key,
        ),
        claimed.automation_id,
        claimed.version.number,
        mail.step.step_key,
        claimed.enrollment_id,
        claimed.customer_id,
        decision.email if isinstance(decision, Send) else claimed.email,
        claimed.is_test,
        (MessageState.SKIPPED if is_skipped else MessageState.QUEUED).value,
        decision.reason.value if isinstance(decision, Skip) else None,
        waits_for and waits_for.value,
        claimed.version.definition.rules.priority,
        decision.until if isinstance(decision, Defer) else mail.due_at,
        mail.expires_at,
    )


def _waits_for(decision: Decision) -> DeferReason | None:
    """Why it waits, or would have had to for too long."""
    match decision:
        case Defer(reason=reason):
            return reason
        case Skip(waited_for=waited_for):
            return waited_for
        case Send():
            return None
