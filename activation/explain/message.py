"""One mail: what started it, why then, what was checked, and what came of it."""

from datetime import datetime
from typing import Final

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.automation.definition import ConsentGiven, read_definition
from activation.dedupe import is_displaced
from activation.dedupe import is_erased as is_erased_key
from activation.discounts.assigning import code_of
from activation.eligibility import Check, Stage, Subject, examine, load_facts
from activation.eligibility.quiet import zone_of
from activation.explain import checks, parts, words
from activation.explain.credits import credits_of
from activation.explain.parts import Reading
from activation.explain.people import is_erased
from activation.explain.reading import HAS_UNSUBSCRIBED, READ_MESSAGE
from activation.explain.shapes import (
    BatchPart,
    CheckPart,
    CodePart,
    MessageExplained,
    RunsPart,
    StandingPart,
)
from activation.explain.standings import standing_at
from core.errors import PermanentError
from core.models.enums import DeferReason, MessageState, SkipReason

AS_DECIDED: Final = "as decided"
AS_OF_NOW: Final = "as of now"
CAME: Final = {
    MessageState.DELIVERED: " and was delivered",
    MessageState.BOUNCED: " and was sent back",
    MessageState.COMPLAINED: " and was reported as spam",
}


def explain_message(
    session: Session, shop_id: int, message_id: int, *, secret_key: SecretStr, now: datetime
) -> MessageExplained:
    """Why this mail was sent, is waiting, or never will be.

    Raises PermanentError when the shop has no such message.
    """
    reading = _read(session, shop_id, message_id, secret_key=secret_key, now=now)
    row, is_gone = reading.row, reading.is_erased
    batch = parts.batch_part(reading)
    at_moment, at_mail = _standings(reading)
    asked, asked_when = _checks(reading, secret_key)
    return MessageExplained(
        message_id=message_id,
        state=row.state,
        skip_reason=row.skip_reason,
        failure=None if is_gone else row.failure,
        bounce_kind=row.bounce_kind,
        is_test=row.is_test,
        is_erased=is_gone,
        customer_id=None if is_gone else row.customer_id,
        email=None if is_gone else row.email,
        subject=None if is_gone else row.subject,
        words=_answer(reading),
        flow=parts.flow_part(reading),
        entry=parts.entry_part(reading),
        at_moment=at_moment,
        at_mail=at_mail,
        timing=parts.timing_part(reading),
        checks=asked,
        checks_are=asked_when,
        holdout=parts.holdout_part(reading),
        batch=batch,
        events=parts.event_parts(reading),
        engagements=parts.engagement_parts(reading),
        credited=None if is_gone else credits_of(session, shop_id, message_id),
        runs=_runs(reading, batch, at_moment),
        own_code=_own_code(reading),
    )


def _read(
    session: Session, shop_id: int, message_id: int, *, secret_key: SecretStr, now: datetime
) -> Reading:
    row = session.execute(
        READ_MESSAGE, {"shop_id": shop_id, "message_id": message_id}
    ).one_or_none()
    if row is None:
        raise PermanentError(f"This shop has no mail {message_id}.")
    is_gone = is_erased_key(row.dedupe_key) or is_erased(
        session, shop_id, secret_key, row.customer_id, row.email
    )
    return Reading(
        session=session,
        shop_id=shop_id,
        row=row,
        definition=read_definition(row.definition),
        is_erased=is_gone,
        now=now,
        zone=zone_of(row.time_zone),
    )


def _own_code(reading: Reading) -> CodePart | None:
    given = code_of(reading.session, reading.shop_id, reading.row.message_id)
    return None if given is None else CodePart(given.code, given.ends_at)


def _standings(reading: Reading) -> tuple[StandingPart | None, StandingPart | None]:
    """At the moment, and when the mail was decided on (of one that waits: now)."""
    row = reading.row
    if reading.is_erased or row.customer_id is None:
        return None, None
    decided_at = row.frozen_at or row.finished_at or reading.now
    at_mail = standing_at(reading.session, reading.shop_id, row.customer_id, decided_at)
    if row.moment_at is None:
        return None, at_mail
    return (
        standing_at(reading.session, reading.shop_id, row.customer_id, row.moment_at),
        at_mail,
    )


def _checks(reading: Reading, secret_key: SecretStr) -> tuple[tuple[CheckPart, ...], str]:
    row = reading.row
    if reading.is_erased:
        return (), AS_DECIDED
    if row.state == MessageState.QUEUED:
        return _examined(reading, secret_key), AS_OF_NOW
    if row.state != MessageState.SKIPPED:
        return checks.passed(), AS_DECIDED
    if is_displaced(row.dedupe_key):
        return checks.not_kept(), AS_DECIDED
    return checks.refused(row.skip_reason, _refusers(reading)), AS_DECIDED


def _examined(reading: Reading, secret_key: SecretStr) -> tuple[CheckPart, ...]:
    """As the next freeze would ask. Nobody takes a turn at the address: nothing is changed."""
    row = reading.row
    subject = Subject(
        key=row.message_id,
        customer_id=row.customer_id,
        automation_id=row.automation_id,
        order_id=row.order_id,
        expires_at=row.expires_at,
        due_at=row.due_at,
        priority=row.priority,
        waits_for=row.defer_reason and DeferReason(row.defer_reason),
        is_test=row.is_test,
        enrollment_id=row.enrollment_id,
    )
    facts = load_facts(
        reading.session,
        reading.shop_id,
        [subject],
        secret_key=secret_key,
        now=reading.now,
        stage=Stage.FREEZE,
    )
    return checks.examined(examine(facts[subject.key], now=reading.now))


def _refusers(reading: Reading) -> tuple[Check, ...]:
    """Which of the checks that give the reason it was, as far as the row tells."""
    row = reading.row
    asks_for_consent = isinstance(reading.definition.trigger, ConsentGiven)
    match row.skip_reason:
        case SkipReason.EXITED:
            return () if asks_for_consent else (Check.ENTRY_HOLDS,)
        case SkipReason.TOO_LATE:
            if row.finished_at is not None and row.finished_at > row.expires_at:
                return (Check.IN_TIME,)
            clocks = {
                DeferReason.QUIET_HOURS: (Check.NOT_QUIET,),
                DeferReason.FREQUENCY_CAP: (Check.WITHIN_CAPS,),
            }
            return clocks.get(row.defer_reason, ())
        case SkipReason.UNSUBSCRIBED:
            by_link = row.email and reading.session.scalar(
                HAS_UNSUBSCRIBED,
                {"shop_id": reading.shop_id, "email": row.email, "at": row.finished_at},
            )
            return (Check.NOT_UNSUBSCRIBED_HERE if by_link else Check.IS_SUBSCRIBED,)
        case _:
            return ()


def _runs(reading: Reading, batch: BatchPart | None, at_moment: StandingPart | None) -> RunsPart:
    attempts = batch.attempts if batch else ()
    return RunsPart(
        enrolled=reading.row.enrolled_run_id if reading.has_entry else None,
        queued=reading.row.run_id,
        attempted=tuple(dict.fromkeys(each.run_id for each in attempts if each.run_id)),
        entered_segment=at_moment.run_id if at_moment else None,
    )


def _answer(reading: Reading) -> str:
    """The one sentence."""
    row = reading.row
    if reading.is_erased:
        return "The person this mail was for was erased; nothing about them is kept."
    what = f"A mail of the flow {row.automation_name}"
    if row.is_test:
        what = f"A test mail of the flow {row.automation_name}"
    return f"{what}{_because(reading)} {_what_became(reading)}."


def _what_became(reading: Reading) -> str:
    row = reading.row
    if row.state == MessageState.QUEUED:
        waiting = f"is waiting for {words.waiting(row.defer_reason)}" if row.defer_reason else ""
        return waiting or "is about to leave"
    if row.state == MessageState.SKIPPED:
        is_theirs = is_displaced(row.dedupe_key)
        had_it = "they had it as the customer merged with them"
        return f"was not sent: {had_it if is_theirs else words.skipped(row.skip_reason)}"
    if row.state == MessageState.FAILED:
        return f"could not be sent: {row.failure or 'no reason was kept'}"
    if row.state == MessageState.UNKNOWN:
        return "may have been sent; the provider never said whether"
    if row.state == MessageState.FROZEN:
        return "is on its way to the provider"
    sent = f" on {words.when(row.sent_at, reading.zone)}" if row.sent_at else ""
    return f"was sent{sent}{CAME.get(MessageState(row.state), '')}"


def _because(reading: Reading) -> str:
    if not reading.has_entry:
        return ""
    event = words.EVENTS.get(reading.definition.trigger_type, "an event")
    return f", because of {event} on {words.when(reading.row.moment_at, reading.zone)},"
