"""What each answer of the provider means for a batch, written fenced on its attempt.

    accepted                       completed, ids to its members
    refused, nothing ever unknown  dissolved: a bad mail is found by halving, anything else waits
    refused after an unknown       the same bytes again
    unreachable, unknown           the same bytes again, later; where the provider does not know a
                                   request that is repeated, an unknown one is given up at once
    key conflict                   given up: nothing is sent again on our own

One transaction that holds the row of the batch; the call itself was made with none open.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from activation.outbox import pacing
from activation.outbox.batches import (
    Held,
    OpenBatch,
    dissolve,
    finish_attempt,
    lock_open,
    release,
)
from activation.outbox.freeze import freeze_members
from activation.outbox.groups import complete_accepted, lock_all_open
from activation.outbox.members import Failed, Member, lock_frozen
from activation.outbox.outage import LONGEST_SILENCE
from activation.outbox.recovery import give_up
from activation.outbox.worker import Delivered, Outbox, SendReport
from activation.provider import (
    Accepted,
    KeyConflict,
    ProviderAnswer,
    RefusalKind,
    Refused,
    Unknown,
    Unreachable,
)
from core.database import session_scope
from core.models.enums import AttemptOutcome

FIRST_RETRY: Final = timedelta(seconds=2)
LONGEST_RETRY: Final = timedelta(minutes=10)
SLOW_DOWN_DEFAULT: Final = timedelta(seconds=1)
SHOP_PAUSE: Final = timedelta(minutes=15)
MONTHLY_QUOTA_PAUSE: Final = timedelta(hours=6)  # it ends with the bill's month, or a larger plan
BREAKER_AFTER: Final = 3  # attempts without an answer


def complete_all(
    outbox: Outbox, shop_id: int, accepted: Sequence[tuple[Held, Sequence[str]]]
) -> Delivered:
    """As `complete`, for several batches that were accepted whole."""
    with session_scope(outbox.factory) as session:
        ours = lock_all_open(session, shop_id, [held for held, _ in accepted])
        ids = {held.batch_id: each for held, each in accepted if held.batch_id in ours}
        complete_accepted(session, shop_id, ids, now=outbox.clock.now())
        outbox.checkpoint("completing")
    return Delivered(SendReport(accepted=sum(map(len, ids.values()))))


def complete(outbox: Outbox, held: Held, answer: ProviderAnswer) -> Delivered:
    """Write what the answer means; nothing when another worker has gone on with the batch."""
    with session_scope(outbox.factory) as session:
        batch = lock_open(session, held)
        if batch is None:
            return Delivered()
        delivered = _settle(session, outbox, held, batch, answer)
        outbox.checkpoint("completing")
    return delivered


def _settle(
    session: Session, outbox: Outbox, held: Held, batch: OpenBatch, answer: ProviderAnswer
) -> Delivered:
    now = outbox.clock.now()
    match answer:
        case Accepted(ids):
            return _accepted(session, outbox, held, batch, ids, now=now)
        case Refused():
            return _refused(session, outbox, held, batch, answer)
        case KeyConflict(words):
            finish_attempt(session, held, AttemptOutcome.UNKNOWN, error=words)
            return Delivered(SendReport(unknown=give_up(session, held, reason=words, now=now)))
        case Unreachable() | Unknown():
            return _unanswered(session, outbox, held, answer, now=now)


def _unanswered(
    session: Session, outbox: Outbox, held: Held, answer: Unreachable | Unknown, *, now: datetime
) -> Delivered:
    """Again, if the provider would know the request again; otherwise nobody sends it again."""
    if isinstance(answer, Unknown) and not outbox.provider.replays_safely:
        words = answer.message
        finish_attempt(session, held, AttemptOutcome.UNKNOWN, error=words)
        return Delivered(SendReport(unknown=give_up(session, held, reason=words, now=now)))
    _mind_silence(session, held, answer)
    return _try_again(session, held, answer)


def _accepted(
    session: Session,
    outbox: Outbox,
    held: Held,
    batch: OpenBatch,
    ids: Sequence[str],
    *,
    now: datetime,
) -> Delivered:
    if len(ids) != batch.message_count:
        words = f"The provider gave {len(ids)} ids for {batch.message_count} mails."
        return _unanswered(session, outbox, held, Unknown(words), now=now)
    complete_accepted(session, held.shop_id, {held.batch_id: ids}, now=now)
    return Delivered(SendReport(accepted=len(ids)))


def _try_again(session: Session, held: Held, answer: Refused | Unreachable | Unknown) -> Delivered:
    """The same bytes under the same key, later."""
    outcomes = {
        Refused: AttemptOutcome.REFUSED,
        Unreachable: AttemptOutcome.RETRY,
        Unknown: AttemptOutcome.UNKNOWN,
    }
    status = None if isinstance(answer, Unreachable) else answer.status
    retry_after = None if isinstance(answer, Unreachable) else answer.retry_after
    finish_attempt(session, held, outcomes[type(answer)], status_code=status, error=answer.message)
    release(
        session,
        held,
        delay=retry_after or retry_delay(held.attempt),
        may_have_been_accepted=isinstance(answer, Unknown),
        error=answer.message,
    )
    return Delivered(SendReport(stuck=1))


def retry_delay(attempt: int) -> timedelta:
    """2, 4, 8 … seconds, at most ten minutes."""
    return min(FIRST_RETRY * (1 << min(attempt - 1, 20)), LONGEST_RETRY)


def _refused(
    session: Session, outbox: Outbox, held: Held, batch: OpenBatch, answer: Refused
) -> Delivered:
    """A definite no: the batch comes apart, unless an earlier attempt may have been accepted."""
    now = outbox.clock.now()
    _mind_refusal(session, outbox, held.shop_id, answer)
    if batch.may_have_been_accepted:
        return _try_again(session, held, answer)
    if answer.kind is RefusalKind.LATER:
        _try_again(session, held, answer)
        return Delivered(SendReport(deferred=batch.message_count))
    finish_attempt(
        session, held, AttemptOutcome.REFUSED, status_code=answer.status, error=answer.message
    )
    members = lock_frozen(session, held.shop_id, held.batch_id)
    is_bad_mail = answer.kind is RefusalKind.MAIL
    alone = is_bad_mail and batch.message_count == 1
    outcomes = {each.message_id: Failed(answer.message) for each in members} if alone else {}
    dissolve(session, held, members, outcomes, error=answer.message, now=now)
    delivered = Delivered(SendReport(dissolved=1, failed=len(outcomes)))
    if is_bad_mail and not alone:
        _split(session, outbox, held.shop_id, members, delivered, now=now)
    return delivered


def _split(
    session: Session,
    outbox: Outbox,
    shop_id: int,
    members: Sequence[Member],
    delivered: Delivered,
    *,
    now: datetime,
) -> None:
    """Two smaller batches in the same transaction, so that no crash and no other worker puts the
    bad mail and the good ones together again; halving ends with the bad one alone.
    """
    middle = (len(members) + 1) // 2
    for half in (members[middle:], members[:middle]):
        if half:
            frozen = freeze_members(
                session,
                shop_id,
                half,
                now=now,
                settings=outbox.settings,
                serialise=outbox.provider.serialise,
                lease=outbox.lease,
            )
            delivered.report.add_frozen(frozen)
            delivered.follow_ups += frozen.batches


def _mind_refusal(session: Session, outbox: Outbox, shop_id: int, answer: Refused) -> None:
    """Keep the pace the provider asks for; or pause, the shop or all that share its account."""
    match answer.kind:
        case RefusalKind.MAIL | RefusalKind.LATER:
            return
        case RefusalKind.RATE:
            delay = answer.retry_after or SLOW_DOWN_DEFAULT
            if delay.total_seconds() <= pacing.LONGEST_WAIT:
                pacing.slow_down(session, outbox.pace, delay=delay)
            else:
                until = datetime.now(UTC) + delay
                pacing.pause_team(session, outbox.pace, until=until, reason=answer.message)
                pacing.share_pause(session, shop_id, outbox.pace)
        case RefusalKind.DAILY_QUOTA | RefusalKind.MONTHLY_QUOTA:
            until = quota_begins_anew(answer.kind, datetime.now(UTC))
            pacing.pause_team(session, outbox.pace, until=until, reason=answer.message)
            pacing.share_pause(session, shop_id, outbox.pace)
        case RefusalKind.SHOP:
            delay = answer.retry_after or SHOP_PAUSE
            pacing.pause(session, shop_id, delay=delay, reason=answer.message)


def quota_begins_anew(kind: RefusalKind, now: datetime) -> datetime:
    """When to ask again. Nobody tells when a month of the bill ends, so that is asked for."""
    if kind is RefusalKind.DAILY_QUOTA:
        return pacing.next_utc_midnight(now)
    return now + MONTHLY_QUOTA_PAUSE


def _mind_silence(session: Session, held: Held, answer: Unreachable | Unknown) -> None:
    """The breaker opens: while this batch alone knocks, the merchant is told why nothing leaves.

    As long as `outage.is_silent` and never longer: one batch that alone gets no answer must not
    hold up all others.
    """
    if held.attempt >= BREAKER_AFTER:
        delay = min(retry_delay(held.attempt), LONGEST_SILENCE)
        words = f"The provider gives no answer ({answer.message}); it is asked again by itself."
        pacing.pause(session, held.shop_id, delay=delay, reason=words)
