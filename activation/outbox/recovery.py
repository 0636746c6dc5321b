"""Batches whose worker died, or whose last outcome calls for another try."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.outbox.batches import Held, close_batch
from activation.outbox.packing import unpack
from core.models.enums import BatchState

CLAIM_EXPIRED = text("""
-- Returns one open batch of the shop whose lease is over; none of its bytes change.
-- Changes crm.message_batches: our lease. An attempt without an outcome means that a worker died
-- in or around the call, so the request may have been accepted.
-- Index ix_message_batches__open.
UPDATE crm.message_batches AS batch
SET
    lease_until = clock_timestamp() + :lease,
    first_unknown_at = coalesce(
        batch.first_unknown_at,
        (
            SELECT min(attempts.started_at)
            FROM crm.delivery_attempts AS attempts
            WHERE
                attempts.shop_id = batch.shop_id
                AND attempts.batch_id = batch.batch_id
                AND attempts.finished_at IS NULL
        )
    )
WHERE
    batch.shop_id = :shop_id
    AND batch.batch_id = (
        SELECT expired.batch_id
        FROM crm.message_batches AS expired
        WHERE
            expired.shop_id = :shop_id
            AND expired.state = 'open'
            AND expired.lease_until <= clock_timestamp()
        ORDER BY expired.lease_until, expired.batch_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING batch.batch_id, batch.attempt, batch.body, batch.idempotency_key
""")

CLOSE_LOST_ATTEMPTS = text("""
-- Changes crm.delivery_attempts: nobody will report these outcomes any more. Primary key.
UPDATE crm.delivery_attempts
SET finished_at = clock_timestamp(), outcome = 'unknown', error = 'its worker did not report back'
WHERE shop_id = :shop_id AND batch_id = :batch_id AND finished_at IS NULL
""")

GIVE_UP_MEMBERS = text("""
-- Returns the members. Changes crm.messages: whether they were sent only an event, the provider's
-- list or a person can tell. Index ix_messages__batch.
UPDATE crm.messages
SET state = 'unknown', failure = :reason
WHERE shop_id = :shop_id AND batch_id = :batch_id AND state = 'frozen'
RETURNING message_id
""")


def claim_expired(session: Session, shop_id: int, *, lease: timedelta) -> Held | None:
    """Take over one batch whose lease is over: same bytes, same key."""
    row = session.execute(CLAIM_EXPIRED, {"shop_id": shop_id, "lease": lease}).one_or_none()
    if row is None:
        return None
    session.execute(CLOSE_LOST_ATTEMPTS, {"shop_id": shop_id, "batch_id": row.batch_id})
    return Held(shop_id, row.batch_id, row.attempt, unpack(row.body), row.idempotency_key)


def give_up(session: Session, held: Held, *, reason: str, now: datetime) -> int:
    """Stop trying on our own; returns how many messages are now `unknown`. Never a new key."""
    close_batch(session, held, BatchState.UNKNOWN, error=reason, now=now)
    members = session.execute(
        GIVE_UP_MEMBERS,
        {"shop_id": held.shop_id, "batch_id": held.batch_id, "reason": reason},
    )
    return len(members.all())
