"""Batches to the provider, one attempt at a time.

    begin      eligibility once more while nothing can have been accepted; attempt committed
    call       no transaction open
    complete   what the answer means (answers.py), fenced on the attempt number

A worker may die between any two lines: what is committed says what the next one may do.
"""

from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.eligibility import Defer, Send, Skip
from activation.outbox import pacing
from activation.outbox.answers import complete
from activation.outbox.batches import BEGIN_ATTEMPT, Held, dissolve, lock_open, release
from activation.outbox.freeze import freeze_due
from activation.outbox.members import judge, lock_frozen
from activation.outbox.outage import is_silent
from activation.outbox.recovery import claim_expired, give_up
from activation.outbox.worker import Delivered, Outbox, SendReport
from core.database import session_scope


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
        if is_silent(session, shop_id):
            return None
        frozen = freeze_due(
            session,
            shop_id,
            now=outbox.clock.now(),
            settings=outbox.settings,
            limit=outbox.batch_size,
            lease=outbox.lease,
        )
    outbox.checkpoint("frozen")
    report.add_frozen(frozen)
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
    delivered = complete(outbox, begun, answer)
    outbox.checkpoint("completed")
    delivered.report.requests += 1
    return delivered


def _wait_for_slot(outbox: Outbox, held: Held) -> bool:
    """Sleep until the pacer's slot; False when it is too far off, the batch is then let go."""
    with session_scope(outbox.factory) as session:
        slot = pacing.reserve(session, held.shop_id)
        delay = slot.paused if slot.paused is not None else slot.wait
        if slot.paused is not None or slot.wait > pacing.LONGEST_WAIT:
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
            ended = _dissolve_unless_all_may_go(
                session, held, batch.message_count, secret_key=outbox.settings.secret_key, now=now
            )
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
    decisions = judge(session, held.shop_id, members, secret_key=secret_key, now=now)
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
