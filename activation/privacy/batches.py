"""Frozen batches that hold a mail to somebody who is being erased.

Mail must leave exactly once, so the bytes of a batch may only go while it is certain that nobody
has taken or is taking them. Then the batch comes apart and the others are frozen anew. Otherwise
erasing waits: a batch is settled within 23 hours (outbox/recovery.py).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.eligibility import Decision, Skip
from activation.outbox.batches import GIVE_UP_AFTER, Held, dissolve
from activation.outbox.members import lock_frozen
from activation.outbox.recovery import give_up
from activation.privacy.person import Person
from core.models.enums import SkipReason

ERASED_WORDS = "a member was erased"
UNKNOWN_WORDS = "The provider never said whether it took this mail."

LOCK_BATCHES = text("""
-- Returns open batches with a mail to the person, or all of the shop's, and locks them: no worker
-- begins an attempt meanwhile. `doubtful_since`: an attempt was made whose outcome is not known,
-- or is being made. Indexes ix_message_batches__open, ix_messages__batch.
SELECT
    batch.batch_id,
    batch.attempt,
    batch.idempotency_key,
    batch.message_count,
    doubt.since IS NOT NULL AS is_doubtful,
    coalesce(clock_timestamp() - doubt.since > :give_up_after, false) AS is_given_up
FROM crm.message_batches AS batch
CROSS JOIN LATERAL (
    SELECT
        coalesce(
            batch.first_unknown_at,
            (
                SELECT min(attempts.started_at)
                FROM crm.delivery_attempts AS attempts
                WHERE
                    attempts.shop_id = batch.shop_id
                    AND attempts.batch_id = batch.batch_id
                    AND attempts.finished_at IS NULL
            )
        ) AS since
) AS doubt
WHERE
    batch.shop_id = :shop_id
    AND batch.state = 'open'
    AND (
        :is_everyone
        OR EXISTS (
            SELECT 1
            FROM crm.messages
            WHERE
                messages.shop_id = batch.shop_id
                AND messages.batch_id = batch.batch_id
                AND (
                    messages.customer_id = ANY(CAST(:customer_ids AS bigint []))
                    OR lower(btrim(messages.email)) IN (
                        SELECT lower(btrim(known.email))
                        FROM unnest(CAST(:emails AS text [])) AS known (email)
                    )
                )
        )
    )
ORDER BY batch.batch_id
FOR UPDATE OF batch
""")


def settle_batches(session: Session, shop_id: int, person: Person | None, *, now: datetime) -> int:
    """Take the person's mails (None: everyone's) out of open batches.

    Returns how many batches cannot be touched yet. `now` is business time.
    """
    whom = person or Person()
    rows = session.execute(
        LOCK_BATCHES,
        {
            **whom.parameters(shop_id),
            "is_everyone": person is None,
            "give_up_after": GIVE_UP_AFTER,
        },
    ).all()
    return sum(not _settle(session, shop_id, row, person, now=now) for row in rows)


def _settle(
    session: Session, shop_id: int, batch: Row[Any], person: Person | None, *, now: datetime
) -> bool:
    held = Held(shop_id, batch.batch_id, batch.attempt, b"", batch.idempotency_key)
    if batch.is_doubtful and not batch.is_given_up:
        return False
    members = lock_frozen(session, shop_id, batch.batch_id)
    if batch.is_doubtful or (batch.attempt and len(members) < batch.message_count):
        # As in outbox/sending.py: a member moved on by an event was taken with all the others.
        give_up(session, held, reason=UNKNOWN_WORDS, now=now)
        return True
    theirs: dict[int, Decision] = {
        each.message_id: Skip(SkipReason.SUPPRESSED)
        for each in members
        if person is None or _is_theirs(each.customer_id, each.email, person)
    }
    dissolve(session, held, members, theirs, error=ERASED_WORDS, now=now)
    return True


def _is_theirs(customer_id: int | None, email: str | None, person: Person) -> bool:
    addresses = {each.strip().casefold() for each in person.emails}
    return customer_id in person.customer_ids or (email or "").strip().casefold() in addresses
