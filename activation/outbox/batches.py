"""The row that makes a request repeatable: exact bytes, one key, a lease and an attempt number."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.eligibility import Decision
from activation.outbox.members import Failed, Member, settle
from activation.outbox.packing import pack
from core.arrays import array_text
from core.models.enums import AttemptOutcome, BatchState

BATCH_SIZE: Final = 100  # no request holds more, whatever its provider would take
LEASE: Final = timedelta(seconds=60)  # more than twice the longest call (provider/resend.py)
GIVE_UP_AFTER: Final = timedelta(hours=23)  # the provider forgets keys after 24
RECONCILE_AFTER: Final = timedelta(minutes=5)  # events that are on their way may settle it

INSERT_BATCH = text("""
-- Returns the new batch's id. Changes crm.message_batches; the lease starts.
INSERT INTO crm.message_batches (
    shop_id, idempotency_key, body, body_sha256, message_count, state, lease_until, frozen_at
)
VALUES (
    :shop_id, :key, :body, :sha256, :message_count, 'open', clock_timestamp() + :lease, :now
)
RETURNING batch_id
""")

FREEZE_MEMBERS = text("""
-- Changes crm.messages: members of batches, in the order of their bodies. Primary key.
UPDATE crm.messages
SET
    state = 'frozen',
    waited_for = coalesce(messages.defer_reason, messages.waited_for),
    defer_reason = NULL,
    batch_id = member.batch_id,
    batch_position = member.batch_position,
    email = member.email,
    subject = member.subject,
    frozen_at = :now
FROM
    unnest(
        CAST(:message_ids AS bigint []),
        CAST(:batch_ids AS bigint []),
        CAST(:positions AS integer []),
        CAST(:emails AS text []),
        CAST(:subjects AS text [])
    ) AS member (message_id, batch_id, batch_position, email, subject)
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = member.message_id
    AND messages.state = 'queued'
""")

LOCK_OPEN = text("""
-- Returns the batch if it is still open at this attempt number, and locks it; otherwise another
-- worker has gone on. Primary key.
SELECT
    batch_id,
    message_count,
    clock_timestamp() AS locked_at,
    first_unknown_at IS NOT NULL AS may_have_been_accepted,
    coalesce(clock_timestamp() - first_unknown_at > :give_up_after, false) AS is_given_up
FROM crm.message_batches
WHERE
    shop_id = :shop_id
    AND batch_id = :batch_id
    AND attempt = :attempt
    AND state = 'open'
FOR UPDATE
""")

FINISH_ATTEMPT = text("""
-- Changes crm.delivery_attempts: what came of the call. Primary key.
UPDATE crm.delivery_attempts
SET
    finished_at = clock_timestamp(),
    outcome = :outcome,
    status_code = :status_code,
    error = :error
WHERE shop_id = :shop_id AND batch_id = :batch_id AND attempt = :attempt
""")

CLOSE_BATCH = text("""
-- Changes crm.message_batches: nothing more will be sent of it, so the bytes go. What became of an
-- unknown one is looked for a little later (reconcile.py). Primary key.
UPDATE crm.message_batches
SET
    state = CAST(:state AS text),
    body = NULL,
    lease_until = NULL,
    next_attempt_at = CASE
        WHEN CAST(:state AS text) = 'unknown' THEN clock_timestamp() + :reconcile_after
    END,
    last_error = :error,
    finished_at = :now
WHERE shop_id = :shop_id AND batch_id = :batch_id
""")

RELEASE_BATCH = text("""
-- Changes crm.message_batches: to be taken up again after `delay`, by anyone. Primary key.
UPDATE crm.message_batches
SET
    lease_until = clock_timestamp() + :delay,
    next_attempt_at = clock_timestamp() + :delay,
    first_unknown_at = CASE
        WHEN :may_have_been_accepted THEN coalesce(first_unknown_at, clock_timestamp())
        ELSE first_unknown_at
    END,
    last_error = coalesce(:error, last_error)
WHERE shop_id = :shop_id AND batch_id = :batch_id AND attempt = :attempt AND state = 'open'
""")


@dataclass(frozen=True)
class Held:
    """A batch this worker holds the lease of. `attempt` fences everything it writes."""

    shop_id: int
    batch_id: int
    attempt: int
    body: bytes
    idempotency_key: str

    def begun(self) -> "Held":
        """The same batch in its next attempt."""
        return Held(self.shop_id, self.batch_id, self.attempt + 1, self.body, self.idempotency_key)


@dataclass(frozen=True)
class OpenBatch:
    """A locked batch. `may_have_been_accepted`: an earlier outcome was never learned."""

    message_count: int
    may_have_been_accepted: bool
    is_given_up: bool
    locked_at: datetime


class Letter(NamedTuple):
    """One member with the address and subject it is frozen with."""

    member: Member
    email: str
    subject: str


def store_batches(
    session: Session,
    shop_id: int,
    requests: Sequence[tuple[Sequence[Letter], bytes]],
    *,
    now: datetime,
    lease: timedelta,
) -> tuple[Held, ...]:
    """Freeze these letters, each request under a new key; the caller's commit makes it so."""
    stored = tuple(
        _store_batch(session, shop_id, letters, body, now=now, lease=lease)
        for letters, body in requests
    )
    rows = [
        (letter.member.message_id, held.batch_id, position, letter.email, letter.subject)
        for held, (letters, _) in zip(stored, requests, strict=True)
        for position, letter in enumerate(letters)
    ]
    message_ids, batch_ids, positions, emails, subjects = zip(*rows, strict=True)
    session.execute(
        FREEZE_MEMBERS,
        {
            "shop_id": shop_id,
            "now": now,
            "message_ids": array_text(message_ids),
            "batch_ids": array_text(batch_ids),
            "positions": array_text(positions),
            "emails": list(emails),
            "subjects": list(subjects),
        },
    )
    return stored


def _store_batch(
    session: Session,
    shop_id: int,
    letters: Sequence[Letter],
    body: bytes,
    *,
    now: datetime,
    lease: timedelta,
) -> Held:
    digest = hashlib.sha256(body)
    key = new_key([letter.member.message_id for letter in letters], digest.digest())
    batch_id: int = session.execute(
        INSERT_BATCH,
        {
            "shop_id": shop_id,
            "key": key,
            "body": pack(body),
            "sha256": digest.hexdigest(),
            "message_count": len(letters),
            "lease": lease,
            "now": now,
        },
    ).scalar_one()
    return Held(shop_id, batch_id, 0, body, key)


def new_key(message_ids: Sequence[int], body_sha256: bytes) -> str:
    """A key for this batch and no other.

    Members that come back after a refusal may be frozen into the very same bytes; under the same
    key the provider would be asked about a request it has already refused. Hence the salt.
    """
    digest = hashlib.sha256(uuid.uuid4().bytes)
    digest.update(",".join(map(str, message_ids)).encode())
    digest.update(body_sha256)
    return f"b/{digest.hexdigest()[:40]}"


def lock_open(session: Session, held: Held) -> OpenBatch | None:
    """None when this worker no longer holds the batch."""
    row = session.execute(
        LOCK_OPEN,
        {
            "shop_id": held.shop_id,
            "batch_id": held.batch_id,
            "attempt": held.attempt,
            "give_up_after": GIVE_UP_AFTER,
        },
    ).one_or_none()
    if row is None:
        return None
    return OpenBatch(row.message_count, row.may_have_been_accepted, row.is_given_up, row.locked_at)


def release(
    session: Session,
    held: Held,
    *,
    delay: timedelta,
    may_have_been_accepted: bool = False,
    error: str | None = None,
) -> None:
    """Let the batch go on after `delay`: the same bytes under the same key."""
    session.execute(
        RELEASE_BATCH,
        {
            "shop_id": held.shop_id,
            "batch_id": held.batch_id,
            "attempt": held.attempt,
            "delay": delay,
            "may_have_been_accepted": may_have_been_accepted,
            "error": error,
        },
    )


def finish_attempt(
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


def close_batch(
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
            "reconcile_after": RECONCILE_AFTER,
        },
    )


def dissolve(
    session: Session,
    held: Held,
    members: Sequence[Member],
    outcomes: dict[int, Decision] | dict[int, Failed],
    *,
    error: str,
    now: datetime,
) -> None:
    settle(session, held.shop_id, members, {**outcomes}, now=now)
    close_batch(session, held, BatchState.DISSOLVED, error=error, now=now)
