"""Statements for several batches at once: one round trip for all of them.

A worker that may send many requests a second takes a few batches together, from the freeze to the
completion; what is said of one batch in batches.py holds for each of them here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.outbox.batches import GIVE_UP_AFTER, Held, OpenBatch
from core.arrays import array_text

LOCK_OPEN = text("""
-- Returns those of these batches that are still open at their attempt number, and locks them; with
-- any other another worker has gone on. Primary key.
SELECT
    batches.batch_id,
    batches.message_count,
    clock_timestamp() AS locked_at,
    batches.first_unknown_at IS NOT NULL AS may_have_been_accepted,
    coalesce(clock_timestamp() - batches.first_unknown_at > :give_up_after, false) AS is_given_up
FROM crm.message_batches AS batches
INNER JOIN
    unnest(CAST(:batch_ids AS bigint []), CAST(:attempts AS integer [])) AS held (batch_id, attempt)
    ON batches.batch_id = held.batch_id AND batches.attempt = held.attempt
WHERE batches.shop_id = :shop_id AND batches.state = 'open'
ORDER BY batches.batch_id
FOR UPDATE OF batches
""")

BEGIN_ATTEMPTS = text("""
-- Changes crm.message_batches and crm.delivery_attempts: the next attempts are on record before the
-- calls, so that a worker that dies in one leaves a trace. They begin at :started_at, before
-- eligibility was looked at, so that no unsubscribe of an earlier instant was overlooked.
WITH begun AS (
    UPDATE crm.message_batches
    SET
        attempt = attempt + 1,
        lease_until = clock_timestamp() + :lease,
        next_attempt_at = NULL,
        first_attempt_at = coalesce(first_attempt_at, :started_at)
    WHERE shop_id = :shop_id AND batch_id = ANY(CAST(:batch_ids AS bigint []))
    RETURNING shop_id, batch_id, attempt
)

INSERT INTO crm.delivery_attempts (shop_id, batch_id, attempt, run_id, started_at)
SELECT begun.shop_id, begun.batch_id, begun.attempt, :run_id, :started_at
FROM begun
""")

COMPLETE = text("""
-- Changes crm.messages: accepted, with the provider's ids. A member that an event has already moved
-- on keeps its state. Locked in the order of events/, which change the same rows.
-- Index ix_messages__batch.
WITH members AS (
    SELECT message_id, batch_id, batch_position
    FROM crm.messages
    WHERE shop_id = :shop_id AND batch_id = ANY(CAST(:batch_ids AS bigint []))
    ORDER BY message_id
    FOR UPDATE
)

UPDATE crm.messages
SET
    state = CASE WHEN messages.state IN ('frozen', 'unknown') THEN 'sent' ELSE messages.state END,
    provider_message_id = accepted.provider_message_id,
    sent_at = coalesce(messages.sent_at, :now)
FROM
    members
INNER JOIN
    unnest(
        CAST(:batch_of AS bigint []),
        CAST(:positions AS integer []),
        CAST(:provider_message_ids AS text [])
    ) AS accepted (batch_id, batch_position, provider_message_id)
    ON
        members.batch_id = accepted.batch_id
        AND members.batch_position = accepted.batch_position
WHERE messages.shop_id = :shop_id AND messages.message_id = members.message_id
""")

CLOSE = text("""
-- Changes crm.message_batches and crm.delivery_attempts: accepted, nothing more will be sent of
-- them, so the bytes go. Primary keys.
WITH closed AS (
    UPDATE crm.message_batches
    SET
        state = 'completed',
        body = NULL,
        lease_until = NULL,
        next_attempt_at = NULL,
        last_error = NULL,
        finished_at = :now
    WHERE shop_id = :shop_id AND batch_id = ANY(CAST(:batch_ids AS bigint []))
    RETURNING shop_id, batch_id, attempt
)

UPDATE crm.delivery_attempts AS attempts
SET finished_at = clock_timestamp(), outcome = 'accepted', status_code = 200
FROM closed
WHERE
    attempts.shop_id = closed.shop_id
    AND attempts.batch_id = closed.batch_id
    AND attempts.attempt = closed.attempt
""")


def lock_all_open(session: Session, shop_id: int, held: Sequence[Held]) -> dict[int, OpenBatch]:
    """By batch id, without those that this worker holds no longer."""
    rows = session.execute(
        LOCK_OPEN,
        {
            "shop_id": shop_id,
            "batch_ids": [each.batch_id for each in held],
            "attempts": [each.attempt for each in held],
            "give_up_after": GIVE_UP_AFTER,
        },
    )
    return {
        row.batch_id: OpenBatch(
            row.message_count, row.may_have_been_accepted, row.is_given_up, row.locked_at
        )
        for row in rows
    }


def begin_attempts(
    session: Session,
    shop_id: int,
    held: Sequence[Held],
    *,
    started_at: datetime,
    lease: timedelta,
    run_id: str | None,
) -> None:
    """Put the attempts after `held.attempt` on record; the leases begin anew."""
    session.execute(
        BEGIN_ATTEMPTS,
        {
            "shop_id": shop_id,
            "batch_ids": [each.batch_id for each in held],
            "started_at": started_at,
            "lease": lease,
            "run_id": run_id,
        },
    )


def complete_accepted(
    session: Session, shop_id: int, ids: Mapping[int, Sequence[str]], *, now: datetime
) -> None:
    """`ids`: of the provider, by locked batch, one for each of its mails in their order."""
    session.execute(
        COMPLETE,
        {
            "shop_id": shop_id,
            "batch_ids": array_text(ids),
            "batch_of": array_text(batch_id for batch_id, each in ids.items() for _ in each),
            "positions": array_text(
                position for each in ids.values() for position in range(len(each))
            ),
            "provider_message_ids": [one for each in ids.values() for one in each],
            "now": now,
        },
    )
    session.execute(CLOSE, {"shop_id": shop_id, "batch_ids": list(ids), "now": now})
