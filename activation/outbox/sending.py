"""Batches to the provider, one attempt at a time.

    begin      eligibility once more while nothing can have been taken; attempt and slot committed
    call       no transaction open
    complete   what the answer means (answers.py), fenced on the attempt number

A worker may die between any two lines: what is committed says what the next one may do.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.eligibility import Defer, Send, Skip, Stage
from activation.outbox import pacing
from activation.outbox.answers import complete
from activation.outbox.batches import (
    Held,
    OpenBatch,
    begin_attempt,
    dissolve,
    lock_open,
    release,
)
from activation.outbox.freeze import freeze_due
from activation.outbox.members import judge, lock_frozen
from activation.outbox.outage import is_silent
from activation.outbox.recovery import claim_expired, give_up
from activation.outbox.worker import Delivered, Outbox, SendReport
from core.database import session_scope

MOST_TRIES: Final = 50  # at finding a slot near; each waits for one


@dataclass(frozen=True)
class _Begun:
    """The attempt is on record; its call may go in `wait` seconds."""

    held: Held
    wait: float


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
            limit=min(outbox.batch_size, outbox.provider.batch_limit),
            lease=outbox.lease,
        )
        outbox.checkpoint("freezing")
    outbox.checkpoint("frozen")
    report.add_frozen(frozen)
    if frozen.claimed == 0:
        return None
    return [frozen.batch] if frozen.batch else []


def deliver(outbox: Outbox, held: Held) -> Delivered:
    """One attempt at one batch."""
    begun = _begin_in_time(outbox, held)
    if isinstance(begun, Delivered):
        return begun
    outbox.checkpoint("attempt_committed")
    outbox.sleep(begun.wait)
    outbox.checkpoint("calling")
    answer = outbox.provider.send_batch(begun.held.body, begun.held.idempotency_key)
    outbox.checkpoint("answered")
    delivered = complete(outbox, begun.held, answer)
    outbox.checkpoint("completed")
    delivered.report.requests += 1
    return delivered


def _begin_in_time(outbox: Outbox, held: Held) -> _Begun | Delivered:
    """Begin once a slot is near: the wait comes before eligibility is looked at, not after it."""
    for _ in range(MOST_TRIES):
        begun = _begin(outbox, held)
        if not isinstance(begun, pacing.Slot):
            return begun
        if begun.wait > pacing.LONGEST_WAIT:
            break
        outbox.sleep(begun.wait)
    else:
        begun = pacing.Slot(0.0, reserved=False)
    with session_scope(outbox.factory) as session:
        release(session, held, delay=timedelta(seconds=begun.wait))
    return Delivered(SendReport(stuck=1))


def _begin(outbox: Outbox, held: Held) -> _Begun | Delivered | pacing.Slot:
    """Put the next attempt on record. Instead of it, a batch may end here: taken over by another
    worker, given up, or dissolved because a member may no longer be mailed. A slot: none is near.
    """
    now = outbox.clock.now()
    with session_scope(outbox.factory) as session:
        batch = lock_open(session, held)
        if batch is None:
            return Delivered()
        if batch.may_have_been_accepted:
            ended = _end_unless_repeatable(session, outbox, held, batch, now=now)
        else:
            ended = _dissolve_unless_all_may_go(
                session, held, batch.message_count, secret_key=outbox.settings.secret_key, now=now
            )
        if ended is not None:
            return ended
        slot = pacing.reserve(session, outbox.pace)
        if not slot.reserved:
            return slot
        begin_attempt(session, held, batch, lease=outbox.lease, run_id=outbox.run_id)
    return _Begun(held.begun(), slot.wait)


def _end_unless_repeatable(
    session: Session, outbox: Outbox, held: Held, batch: OpenBatch, *, now: datetime
) -> Delivered | None:
    """The same bytes may go again while the provider knows their key, and the shop is not paused.

    Nobody is asked whether the members may still be mailed: they may have been.
    """
    if batch.is_given_up or not outbox.provider.replays_safely:
        reason = "The provider never said whether it took this mail."
        return Delivered(SendReport(unknown=give_up(session, held, reason=reason, now=now)))
    pause = pacing.paused_for(session, held.shop_id)
    if pause is None:
        return None
    release(session, held, delay=pause)
    return Delivered(SendReport(stuck=1))


def _dissolve_unless_all_may_go(
    session: Session, held: Held, count: int, *, secret_key: SecretStr, now: datetime
) -> Delivered | None:
    """A member that is no longer frozen was moved by an event: the provider has it already.

    After an attempt that means it took this very request, whatever we made of its answer, and with
    it all other members: their events will tell. Before the first it was an earlier request.
    """
    members = lock_frozen(session, held.shop_id, held.batch_id)
    if held.attempt and len(members) < count:
        reason = "The provider took this request, though its answer did not say so."
        unknown = give_up(session, held, reason=reason, now=now)
        return Delivered(SendReport(unknown=unknown))
    decisions = judge(
        session, held.shop_id, members, secret_key=secret_key, now=now, stage=Stage.ATTEMPT
    )
    may_go = [each for each in members if decisions[each.message_id] == Send(each.email or "")]
    if len(may_go) == count:
        return None
    dissolve(session, held, members, decisions, error="a member may not be mailed", now=now)
    return Delivered(
        SendReport(
            dissolved=1,
            skipped=sum(isinstance(each, Skip) for each in decisions.values()),
            deferred=sum(isinstance(each, Defer) for each in decisions.values()),
        )
    )
