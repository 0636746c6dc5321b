"""Batches to the provider, one attempt at a time.

    begin      eligibility once more while nothing can have been taken; attempt and slot committed
    call       no transaction open
    complete   what the answer means (answers.py), fenced on the attempt number

A worker may die between any two lines: what is committed says what the next one may do.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from activation.eligibility import Decision, Defer, Send, Skip, Stage
from activation.outbox import pacing
from activation.outbox.answers import complete, complete_all, retry_delay
from activation.outbox.batches import (
    Held,
    OpenBatch,
    dissolve,
    finish_attempt,
    lock_open,
    release,
)
from activation.outbox.freeze import freeze_due
from activation.outbox.groups import begin_attempts, lock_all_open
from activation.outbox.members import Member, judge, lock_all_frozen
from activation.outbox.outage import is_silent
from activation.outbox.recovery import claim_expired, give_up
from activation.outbox.worker import Delivered, Outbox, SendReport
from activation.provider import Accepted, ProviderAnswer, Unknown, Unreachable
from core.database import session_scope
from core.models.enums import AttemptOutcome

MOST_TRIES: Final = 50  # at finding a slot near; each waits for one


@dataclass(frozen=True)
class _Begun:
    """The attempt is on record; its call may go at `at`, of the monotonic clock."""

    held: Held
    count: int
    at: float


def send_due(outbox: Outbox, shop_id: int, *, freezes: bool = True) -> SendReport:
    """Send everything that is due for one shop, until nothing is, a call gets stuck, or `stop`.

    Without `freezes` only what is frozen already: during an outage one batch knocks, not all.
    """
    report = SendReport()
    held: list[Held] = []
    while not outbox.stop():
        if not held:
            found = _next_batches(outbox, shop_id, report, freezes=freezes)
            if found is None:
                break
            held += found
            continue
        taken, held = held[: outbox.at_once], held[outbox.at_once :]
        delivered = deliver(outbox, shop_id, taken)
        report.add(delivered.report)
        held = delivered.follow_ups + held
        if delivered.report.stuck:
            break
    for each in held:
        with session_scope(outbox.factory) as session:
            release(session, each, delay=timedelta())
    return report


def _next_batches(
    outbox: Outbox, shop_id: int, report: SendReport, *, freezes: bool
) -> Sequence[Held] | None:
    """An expired batch before new ones; None when there is nothing to do."""
    outbox.checkpoint("claiming")
    with session_scope(outbox.factory) as session:
        expired = claim_expired(session, shop_id, lease=outbox.lease)
        if expired is None and (not freezes or is_silent(session, shop_id)):
            return None
    if expired is not None:
        outbox.checkpoint("claimed")
        return [expired]
    with session_scope(outbox.factory) as session:
        pacing.share_pause(session, shop_id, outbox.pace)
        frozen = freeze_due(
            session,
            shop_id,
            now=outbox.clock.now(),
            settings=outbox.settings,
            serialise=outbox.provider.serialise,
            batch_size=min(outbox.batch_size, outbox.provider.batch_limit),
            batches=outbox.at_once,
            lease=outbox.lease,
        )
        outbox.checkpoint("freezing")
    outbox.checkpoint("frozen")
    report.add_frozen(frozen)
    return frozen.batches if frozen.claimed else None


def deliver(outbox: Outbox, shop_id: int, held: Sequence[Held]) -> Delivered:
    """One attempt at each of these batches."""
    delivered = Delivered()
    begun = _begin_in_time(outbox, shop_id, held, delivered)
    if begun:
        outbox.checkpoint("attempt_committed")
        _call_all(outbox, shop_id, begun, delivered)
        outbox.checkpoint("completed")
    return delivered


def _call_all(outbox: Outbox, shop_id: int, begun: Sequence[_Begun], delivered: Delivered) -> None:
    """Call after call; what was accepted is completed together, the first other answer by itself.

    After such an answer the rest is not called: the provider may be out of reach, or want us to be
    slower. They were surely not accepted, so nothing keeps them from being taken apart later.
    """
    accepted: list[tuple[Held, Sequence[str]]] = []
    for place, each in enumerate(begun):
        outbox.sleep(max(0.0, each.at - time.monotonic()))
        outbox.checkpoint("calling")
        answer = outbox.provider.send_batch(each.held.body, each.held.idempotency_key)
        outbox.checkpoint("answered")
        delivered.report.requests += 1
        if isinstance(answer, Accepted) and len(answer.message_ids) == each.count:
            accepted.append((each.held, answer.message_ids))
            continue
        delivered.add(complete(outbox, each.held, answer))
        _leave_uncalled(outbox, [later.held for later in begun[place + 1 :]], answer)
        break
    if accepted:
        delivered.add(complete_all(outbox, shop_id, accepted))


def _leave_uncalled(outbox: Outbox, held: Sequence[Held], answer: ProviderAnswer) -> None:
    """Where the provider is out of reach they wait with the one that found out."""
    is_silent_now = isinstance(answer, Unknown | Unreachable)
    for each in held:
        delay = retry_delay(each.attempt) if is_silent_now else timedelta()
        with session_scope(outbox.factory) as session:
            if lock_open(session, each) is not None:
                finish_attempt(session, each, AttemptOutcome.RETRY, error="not called")
                release(session, each, delay=delay)


def _begin_in_time(
    outbox: Outbox, shop_id: int, held: Sequence[Held], delivered: Delivered
) -> Sequence[_Begun]:
    """Begin once a slot is near: the wait comes before eligibility is looked at, not after it."""
    for _ in range(MOST_TRIES):
        begun = _begin(outbox, shop_id, held, delivered.report)
        if not isinstance(begun, pacing.Slot):
            return begun
        if begun.wait > pacing.LONGEST_WAIT:
            break
        outbox.sleep(begun.wait)
    else:
        begun = pacing.Slot(0.0, reserved=False)
    for each in held:
        with session_scope(outbox.factory) as session:
            release(session, each, delay=timedelta(seconds=begun.wait))
    delivered.report.stuck += 1
    return ()


def _begin(
    outbox: Outbox, shop_id: int, held: Sequence[Held], report: SendReport
) -> Sequence[_Begun] | pacing.Slot:
    """Put the next attempts on record. Instead of it, a batch may end here: taken over by another
    worker, given up, or dissolved because a member may no longer be mailed. A slot: none is near.
    """
    now = outbox.clock.now()
    with session_scope(outbox.factory) as session:
        batches = lock_all_open(session, shop_id, held)
        ours = [each for each in held if each.batch_id in batches]
        fresh = [each for each in ours if not batches[each.batch_id].may_have_been_accepted]
        ready = [
            each
            for each in ours
            if batches[each.batch_id].may_have_been_accepted
            and _is_repeatable(session, outbox, each, batches[each.batch_id], report, now=now)
        ]
        ready += _who_may_go(
            session, outbox, shop_id, fresh, batches=batches, report=report, now=now
        )
        if not ready:
            return ()
        slot = pacing.reserve(session, outbox.pace, count=len(ready))
        if not slot.reserved:
            return slot
        started_at = min(batches[each.batch_id].locked_at for each in ready)
        begin_attempts(
            session,
            shop_id,
            ready,
            started_at=started_at,
            lease=outbox.lease,
            run_id=outbox.run_id,
        )
        outbox.checkpoint("beginning")
    first, step = time.monotonic() + slot.wait, outbox.pace.interval.total_seconds()
    return [
        _Begun(each.begun(), batches[each.batch_id].message_count, first + place * step)
        for place, each in enumerate(ready)
    ]


def _is_repeatable(
    session: Session,
    outbox: Outbox,
    held: Held,
    batch: OpenBatch,
    report: SendReport,
    *,
    now: datetime,
) -> bool:
    """The same bytes may go again while the provider knows their key, and the shop is not paused.

    Nobody is asked whether the members may still be mailed: they may have been.
    """
    if batch.is_given_up or not outbox.provider.replays_safely:
        reason = "The provider never said whether it took this mail."
        report.unknown += give_up(session, held, reason=reason, now=now)
        return False
    pause = pacing.paused_for(session, held.shop_id)
    if pause is None:
        return True
    release(session, held, delay=pause)
    report.stuck += 1
    return False


def _who_may_go(
    session: Session,
    outbox: Outbox,
    shop_id: int,
    held: Sequence[Held],
    *,
    batches: Mapping[int, OpenBatch],
    report: SendReport,
    now: datetime,
) -> list[Held]:
    """Those of which every member may be mailed now; the others are dissolved.

    A member that is no longer frozen was moved by an event: the provider has it already. After an
    attempt that means it took this very request, whatever we made of its answer, and with it all
    other members: their events will tell. Before the first it was an earlier request.
    """
    if not held:
        return []
    members = lock_all_frozen(session, shop_id, [each.batch_id for each in held])
    of_batch: dict[int, list[Member]] = {each.batch_id: [] for each in held}
    for member in members:
        of_batch[member.batch_id or 0].append(member)
    decisions = judge(
        session,
        shop_id,
        members,
        secret_key=outbox.settings.secret_key,
        now=now,
        stage=Stage.ATTEMPT,
    )
    ready = []
    for each in held:
        theirs, count = of_batch[each.batch_id], batches[each.batch_id].message_count
        if each.attempt and len(theirs) < count:
            reason = "The provider took this request, though its answer did not say so."
            report.unknown += give_up(session, each, reason=reason, now=now)
        elif len(theirs) < count or any(
            decisions[member.message_id] != Send(member.email or "") for member in theirs
        ):
            _take_apart(session, each, theirs, decisions, report, now=now)
        else:
            ready.append(each)
    return ready


def _take_apart(
    session: Session,
    held: Held,
    members: Sequence[Member],
    decisions: Mapping[int, Decision],
    report: SendReport,
    *,
    now: datetime,
) -> None:
    theirs = {each.message_id: decisions[each.message_id] for each in members}
    dissolve(session, held, members, theirs, error="a member may not be mailed", now=now)
    report.dissolved += 1
    report.skipped += sum(isinstance(each, Skip) for each in theirs.values())
    report.deferred += sum(isinstance(each, Defer) for each in theirs.values())
