"""A person decides that messages whose sending is unknown are sent again.

Never done by the machine: nobody can tell whether the first sending arrived, so it may be the
second copy that does (docs/reliability.md). It is on record who decided it, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from activation.dedupe import ERASED
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry
from core.models.enums import AuditAction

STAYS_DUE: Final = timedelta(days=1)  # what was due long ago would be too late at once

READ_UNKNOWN = text("""
-- Returns unknown messages of a shop, oldest first, and what is known of each. Changes nothing.
-- Index ix_messages__unknown, primary key of the batches.
SELECT
    messages.message_id,
    messages.failure,
    batches.first_attempt_at,
    batches.reconciled_at
FROM crm.messages
LEFT JOIN crm.message_batches AS batches
    ON messages.shop_id = batches.shop_id AND messages.batch_id = batches.batch_id
WHERE messages.shop_id = :shop_id AND messages.state = 'unknown'
ORDER BY messages.message_id
LIMIT :limit
""")

QUEUE_AGAIN = text(f"""
-- Returns the messages. Changes crm.messages: back to the queue, looked at like any other, out of
-- the batch that was given up. Only those the provider's list was asked about, and of nobody who
-- was erased. Index ix_messages__unknown, primary key of the batches.
UPDATE crm.messages
SET
    state = 'queued',
    due_at = CAST(:now AS timestamptz),
    expires_at = greatest(messages.expires_at, CAST(:now AS timestamptz) + :stays_due),
    failure = NULL,
    defer_reason = NULL,
    batch_id = NULL,
    batch_position = NULL,
    frozen_at = NULL
FROM crm.message_batches AS batches
WHERE
    messages.shop_id = :shop_id
    AND messages.state = 'unknown'
    AND messages.dedupe_key NOT LIKE '{ERASED}/%'
    AND (:is_all OR messages.message_id = ANY(CAST(:message_ids AS bigint [])))
    AND batches.shop_id = messages.shop_id
    AND batches.batch_id = messages.batch_id
    AND batches.reconciled_at IS NOT NULL
RETURNING messages.message_id
""")


@dataclass(frozen=True)
class UnknownMessage:
    """`was_asked_for`: the provider's list, where it keeps one, was read and does not hold it."""

    message_id: int
    failure: str | None
    first_attempt_at: datetime | None
    was_asked_for: bool


def unknown_messages(
    factory: SessionFactory, shop_id: int, *, limit: int = 1000
) -> list[UnknownMessage]:
    with session_scope(factory) as session:
        rows = session.execute(READ_UNKNOWN, {"shop_id": shop_id, "limit": limit}).all()
    return [
        UnknownMessage(
            row.message_id, row.failure, row.first_attempt_at, row.reconciled_at is not None
        )
        for row in rows
    ]


def send_again(
    factory: SessionFactory,
    *,
    shop_id: int,
    reason: str,
    now: datetime,
    message_ids: Sequence[int] | None = None,
    user_id: int | None = None,
) -> list[int]:
    """Queue these unknown messages (None: all of the shop) in one transaction with the audit entry.

    Returns those queued: not those whose provider has not been asked yet. `user_id` None: whoever
    may use the command line; `now` is business time. Raises PermanentError without a reason, or
    when there is none to queue.
    """
    why = reason.strip()
    if not why:
        raise PermanentError("Say why they are sent again; the reason is kept with your decision.")
    with session_scope(factory) as session:
        queued: list[int] = sorted(
            session.scalars(
                QUEUE_AGAIN,
                {
                    "shop_id": shop_id,
                    "now": now,
                    "stays_due": STAYS_DUE,
                    "is_all": message_ids is None,
                    "message_ids": list(message_ids or ()),
                },
            )
        )
        if not queued:
            raise PermanentError(
                "No such message is unknown here, or the provider has not been asked about it yet."
            )
        session.add(
            AuditEntry(
                shop_id=shop_id,
                acted_at=now,
                user_id=user_id,
                action=AuditAction.RESEND_UNKNOWN,
                about=None,
                reason=why,
                figures={"count": len(queued), "message_ids": queued[:100]},
            )
        )
    return queued
