"""One batch to the provider, and what its answer means.

    begin      eligibility once more while nothing can have been accepted; attempt committed
    call       no transaction open
    complete   fenced on the attempt number

A worker may die between any two lines: what is committed says what the next one may do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.eligibility import Decision, Defer, Send, Skip
from activation.outbox import pacing
from activation.outbox.batches import (
    BATCH_SIZE,
    BEGIN_ATTEMPT,
    CLOSE_BATCH,
    FINISH_ATTEMPT,
    LEASE,
    Held,
    OpenBatch,
    lock_open,
    release,
)
from activation.outbox.freeze import Frozen, freeze_due, freeze_members
from activation.outbox.members import Failed, Member, judge, lock_frozen, settle
from activation.outbox.recovery import claim_expired, give_up
from activation.provider import (
    Accepted,
    KeyConflict,
    Provider,
    ProviderAnswer,
    RefusalKind,
    Refused,
    Unknown,
    Unreachable,
)
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models.enums import AttemptOutcome, BatchState
from core.settings import Settings

LONGEST_WAIT_FOR_SLOT: Final = 5.0
FIRST_RETRY: Final = timedelta(seconds=2)
LONGEST_RETRY: Final = timedelta(minutes=10)
SLOW_DOWN_DEFAULT: Final = timedelta(seconds=1)
PAUSES: Final = {
    RefusalKind.QUOTA: timedelta(hours=1),
    RefusalKind.SHOP: timedelta(minutes=15),
}

COMPLETE_MEMBERS = text("""
-- Changes crm.messages: accepted, with the provider's id. A member that an event has already moved
-- on keeps its state. Index ix_messages__batch.
UPDATE crm.messages
SET
    state = CASE WHEN messages.state IN ('frozen', 'unknown') THEN 'sent' ELSE messages.state END,
    provider_message_id = accepted.provider_message_id,
    sent_at = coalesce(messages.sent_at, :now)
FROM
    unnest(CAST(:provider_message_ids AS text [])) WITH ORDINALITY
        AS accepted (provider_message_id, position)
WHERE
    messages.shop_id = :shop_id
    AND messages.batch_id = :batch_id
    AND messages.batch_position = accepted.position - 1
""")


@dataclass(frozen=True)
class Outbox:
    """Collaborators of one sending worker. `checkpoint` is told each step, for tests of crashes."""

    factory: SessionFactory
    settings: Settings
    provider: Provider
    clock: Clock  # business time of the shop
    run_id: str | None
    stop: Callable[[], bool]
    sleep: Callable[[float], None]
    checkpoint: Callable[[str], None] = lambda _: None
    lease: timedelta = LEASE
    batch_size: int = BATCH_SIZE


@dataclass
class SendReport:
    """Mails by what became of them, requests made, and calls that got stuck."""

    requests: int = 0
    accepted: int = 0
    skipped: int = 0
    deferred: int = 0
    failed: int = 0
    unknown: int = 0
    dissolved: int = 0
    stuck: int = 0

    def add(self, other: "SendReport") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def progress(self) -> int:
        """Mails that now stand elsewhere than before."""
        return self.accepted + self.skipped + self.deferred + self.failed + self.unknown


@dataclass
class Delivered:
    """What one batch led to. `follow_ups` are held by this worker."""

    report: SendReport = field(default_factory=SendReport)
    follow_ups: list[Held] = field(default_factory=list)


def send_due(outbox: Outbox, shop_id: int, *, freezes: bool = True) -> SendReport:
    """Send everything that is due for one shop, until nothing is, a call gets stuck, or `stop`.

    Without `freezes` only what is frozen already: during an outage one batch knocks, not all.
    """
    report = SendReport()
    held: list[Held] = []
    while not outbox.stop():
        if not held:
            found = _next_batch(outbox, shop_id, report, freezes=freezes)
            if found is None:
                break
            held += found
            continue
        delivered = deliver(outbox, held.pop())
        report.add(delivered.report)
        held += delivered.follow_ups
        if delivered.report.stuck:
            break
    for each in held:
        with session_scope(outbox.factory) as session:
            release(session, each, delay=timedelta())
    return report


def _next_batch(
    outbox: Outbox, shop_id: int, report: SendReport, *, freezes: bool
) -> list[Held] | None:
    """An expired batch before a new one; None when there is nothing to do."""
    with session_scope(outbox.factory) as session:
        expired = claim_expired(session, shop_id, lease=outbox.lease)
        if expired is not None:
            return [expired]
    if not freezes:
        return None
    with session_scope(outbox.factory) as session:
        frozen = freeze_due(
            session,
            shop_id,
            now=outbox.clock.now(),
            settings=outbox.settings,
            limit=outbox.batch_size,
            lease=outbox.lease,
        )
    outbox.checkpoint("frozen")
    _count(report, frozen)
    if frozen.claimed == 0:
        return None
    return [frozen.batch] if frozen.batch else []


def deliver(outbox: Outbox, held: Held) -> Delivered:
    """One attempt at one batch."""
    if not _wait_for_slot(outbox, held):
        return Delivered(SendReport(stuck=1))
    begun = _begin(outbox, held)
    if isinstance(begun, Delivered):
        return begun
    outbox.checkpoint("attempt_committed")
    answer = outbox.provider.send_batch(begun.body, begun.idempotency_key)
    outbox.checkpoint("answered")
    delivered = _complete(outbox, begun, answer)
    outbox.checkpoint("completed")
    delivered.report.requests += 1
    return delivered


def _wait_for_slot(outbox: Outbox, held: Held) -> bool:
    """Sleep until the pacer's slot; False when it is too far off, the batch is then let go."""
    with session_scope(outbox.factory) as session:
        slot = pacing.reserve(session, held.shop_id)
        delay = slot.paused if slot.paused is not None else slot.wait
        if slot.paused is not None or slot.wait > LONGEST_WAIT_FOR_SLOT:
            release(session, held, delay=timedelta(seconds=delay))
            return False
    outbox.sleep(slot.wait)
    return True


def _begin(outbox: Outbox, held: Held) -> Held | Delivered:
    """Put the next attempt on record. Instead of it, a batch may end here: taken over by another
    worker, given up after 23 hours, or dissolved because a member may no longer be mailed.
    """
    now = outbox.clock.now()
    with session_scope(outbox.factory) as session:
        batch = lock_open(session, held)
        if batch is None:
            return Delivered()
        if batch.is_given_up:
            reason = "The provider never said whether it took this mail."
            count = give_up(session, held, reason=reason, now=now)
            return Delivered(SendReport(unknown=count))
        if not batch.may_have_been_accepted:
            ended = _dissolve_unless_all_may_go(session, held, now=now)
            if ended is not None:
                return ended
        session.execute(
            BEGIN_ATTEMPT,
            {
                "shop_id": held.shop_id,
                "batch_id": held.batch_id,
                "lease": outbox.lease,
                "run_id": outbox.run_id,
            },
        )
    return held.begun()


def _dissolve_unless_all_may_go(session: Session, held: Held, *, now: datetime) -> Delivered | None:
    members = lock_frozen(session, held.shop_id, held.batch_id)
    decisions = judge(session, held.shop_id, members, now=now)
    if members and all(decisions[each.message_id] == Send(each.email or "") for each in members):
        return None
    _dissolve(session, held, members, decisions, error="a member may not be mailed", now=now)
    return Delivered(
        SendReport(
            dissolved=1,
            skipped=sum(isinstance(each, Skip) for each in decisions.values()),
            deferred=sum(isinstance(each, Defer) for each in decisions.values()),
        )
    )


def _complete(outbox: Outbox, held: Held, answer: ProviderAnswer) -> Delivered:
    """Write what the answer means; nothing when another worker has gone on with the batch."""
    with session_scope(outbox.factory) as session:
        batch = lock_open(session, held)
        if batch is None:
            return Delivered()
        match answer:
            case Accepted(ids):
                return _accepted(session, held, batch, ids, now=outbox.clock.now())
            case Refused():
                return _refused(session, outbox, held, batch, answer)
            case KeyConflict(words):
                _finish(session, held, AttemptOutcome.UNKNOWN, error=words)
                count = give_up(session, held, reason=words, now=outbox.clock.now())
                return Delivered(SendReport(unknown=count))
            case Unreachable() | Unknown():
                return _try_again(session, held, answer)


def _accepted(
    session: Session, held: Held, batch: OpenBatch, ids: Sequence[str], *, now: datetime
) -> Delivered:
    if len(ids) != batch.message_count:
        words = f"The provider gave {len(ids)} ids for {batch.message_count} mails."
        return _try_again(session, held, Unknown(words))
    _finish(session, held, AttemptOutcome.ACCEPTED, status_code=200)
    session.execute(
        COMPLETE_MEMBERS,
        {
            "shop_id": held.shop_id,
            "batch_id": held.batch_id,
            "provider_message_ids": list(ids),
            "now": now,
        },
    )
    _close(session, held, BatchState.COMPLETED, error=None, now=now)
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
    _finish(session, held, outcomes[type(answer)], status_code=status, error=answer.message)
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
    _mind_refusal(session, held.shop_id, answer)
    if batch.may_have_been_accepted:
        return _try_again(session, held, answer)
    _finish(session, held, AttemptOutcome.REFUSED, status_code=answer.status, error=answer.message)
    members = lock_frozen(session, held.shop_id, held.batch_id)
    is_bad_mail = answer.kind is RefusalKind.MAIL
    alone = is_bad_mail and batch.message_count == 1
    outcomes = {each.message_id: Failed(answer.message) for each in members} if alone else {}
    _dissolve(session, held, members, outcomes, error=answer.message, now=now)
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
                session, shop_id, half, now=now, settings=outbox.settings, lease=outbox.lease
            )
            _count(delivered.report, frozen)
            delivered.follow_ups += [frozen.batch] if frozen.batch else []


def _mind_refusal(session: Session, shop_id: int, answer: Refused) -> None:
    """Keep the pace the provider asks for, or pause the shop with its reason."""
    if answer.kind is RefusalKind.MAIL:
        return
    delay = answer.retry_after or PAUSES.get(answer.kind, SLOW_DOWN_DEFAULT)
    if answer.kind is RefusalKind.RATE and delay.total_seconds() <= LONGEST_WAIT_FOR_SLOT:
        pacing.slow_down(session, shop_id, delay=delay)
    else:
        pacing.pause(session, shop_id, delay=delay, reason=answer.message)


def _dissolve(
    session: Session,
    held: Held,
    members: Sequence[Member],
    outcomes: dict[int, Decision] | dict[int, Failed],
    *,
    error: str,
    now: datetime,
) -> None:
    settle(session, held.shop_id, members, {**outcomes}, now=now)
    _close(session, held, BatchState.DISSOLVED, error=error, now=now)


def _finish(
    session: Session,
    held: Held,
    outcome: AttemptOutcome,
    *,
    status_code: int | None = None,
    error: str | None = None,
) -> None:
    session.execute(
        FINISH_ATTEMPT,
        {
            "shop_id": held.shop_id,
            "batch_id": held.batch_id,
            "attempt": held.attempt,
            "outcome": outcome.value,
            "status_code": status_code,
            "error": error,
        },
    )


def _close(
    session: Session, held: Held, state: BatchState, *, error: str | None, now: datetime
) -> None:
    session.execute(
        CLOSE_BATCH,
        {
            "shop_id": held.shop_id,
            "batch_id": held.batch_id,
            "state": state.value,
            "error": error,
            "now": now,
        },
    )


def _count(report: SendReport, frozen: Frozen) -> None:
    report.skipped += frozen.skipped
    report.deferred += frozen.deferred
    report.failed += frozen.failed
