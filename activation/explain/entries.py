"""How often a customer entered a flow, and how each time went."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.orm import Session

from activation.automation.definition import Fork, Jump, read_definition
from activation.explain import words
from activation.explain.shapes import EnrolmentPart, MailPart
from activation.explain.situation import READ_MAILS, Situation
from core.models.enums import EnrollmentState, ExitReason, MessageState

LEFT: Final = {
    ExitReason.ORDERED: "because they ordered",
    ExitReason.CHECKOUT_COMPLETED: "because they completed the checkout",
    ExitReason.CHECKOUT_GONE: "because the checkout is gone",
    ExitReason.LEFT_SEGMENTS: "because they left the segment",
    ExitReason.ORDER_GONE: "because the order no longer counts",
    ExitReason.MERGED: "because the customer merged with them was in it",
}
BECAME: Final = {
    MessageState.FROZEN: "is on its way",
    MessageState.SENT: "was sent",
    MessageState.DELIVERED: "was delivered",
    MessageState.BOUNCED: "came back",
    MessageState.COMPLAINED: "was reported as spam",
    MessageState.FAILED: "could not be sent",
    MessageState.UNKNOWN: "may have been sent; the provider never said whether",
}


def enrolment_parts(
    session: Session, shop_id: int, situation: Situation
) -> tuple[EnrolmentPart, ...]:
    """The latest first; tests by hand are left out."""
    mails = defaultdict(list)
    rows = session.execute(
        READ_MAILS,
        {
            "shop_id": shop_id,
            "automation_id": situation.flow.automation_id,
            "customer_id": situation.customer_id,
        },
    )
    for row in rows:
        if not row.is_test:
            mails[row.enrollment_id].append(_mail(row, situation))
    return tuple(
        _entry(row, mails[row.enrollment_id], situation.flow.zone)
        for row in situation.enrolments
        if not row.is_test
    )


def _entry(row: Row[Any], mails: Sequence[MailPart], zone: ZoneInfo) -> EnrolmentPart:
    return EnrolmentPart(
        enrollment_id=row.enrollment_id,
        entry_key=row.entry_key,
        moment_at=row.moment_at,
        enrolled_at=row.enrolled_at,
        state=row.state,
        exit_reason=row.exit_reason,
        is_held_out=row.is_held_out,
        next_step=_next_step(row),
        due_at=row.due_at,
        finished_at=row.finished_at,
        mails=tuple(mails),
        words=_how_it_went(row, mails, zone),
    )


def _next_step(row: Row[Any]) -> str | None:
    if row.state != EnrollmentState.ACTIVE:
        return None
    program = read_definition(row.definition).program
    if row.step_position >= len(program):
        return None
    instruction = program[row.step_position]
    if isinstance(instruction, Jump):
        return None
    step = instruction.branch if isinstance(instruction, Fork) else instruction
    return step.step_key


def _how_it_went(row: Row[Any], mails: Sequence[MailPart], zone: ZoneInfo) -> str:
    said = f"they entered on {words.when(row.enrolled_at, zone)}"
    if row.state == EnrollmentState.TOO_LATE:
        return f"{said}, when it was too late for a mail already"
    for mail in reversed(mails):
        said += f"; {mail.words}"
    if row.state == EnrollmentState.EXITED:
        said += f"; they left the flow {LEFT.get(row.exit_reason, row.exit_reason or '')}".rstrip()
    elif row.state == EnrollmentState.ACTIVE and row.due_at is not None:
        said += f"; the next step is due on {words.when(row.due_at, zone)}"
    elif row.is_held_out and not mails:
        said += "; they are held out, so no mail was made"
    return said


def _mail(row: Row[Any], situation: Situation) -> MailPart:
    zone = situation.flow.zone
    at = row.sent_at or row.frozen_at or row.finished_at or row.due_at
    reason = row.skip_reason or (row.defer_reason if row.state == MessageState.QUEUED else None)
    if row.state == MessageState.SKIPPED:
        said = f"its mail was not sent: {words.skipped(row.skip_reason)}"
    elif row.state == MessageState.QUEUED:
        said = f"its mail is due on {words.when(row.due_at, zone)}"
        if row.defer_reason:
            said += f" and waits for {words.waiting(row.defer_reason)}"
    else:
        said = f"its mail {BECAME[MessageState(row.state)]} ({words.when(at, zone)})"
    return MailPart(row.message_id, situation.flow.key, row.state, reason, at, said)
