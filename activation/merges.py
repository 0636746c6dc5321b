"""What activation holds of a customer who was merged away becomes the survivor's (DESIGN §5).

Orders and statistics have moved already, with the webhook (core/ingestion/merges.py). Here follow
enrolments, messages, memberships and what waits to be written to Shopify. Where both have the same,
one stays: a mail that has left before one that has not, else the older. The other is kept beside it
under a key of its own, and goes no further.

Until a merge is applied neither of the two is enrolled, and none of their mails moves on
(eligibility, enrolment, steps look at `applied_at`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.dedupe import displaced, key_of_survivor
from activation.holds import lock_shop
from core.models.enums import EnrollmentState, MessageState, SkipReason

EXIT_MERGED: Final = "merged"
WAITING: Final = frozenset({MessageState.QUEUED, MessageState.SKIPPED})
LIMIT: Final = 200

CLAIM = text("""
-- Returns merges that wait, oldest first, and locks them; one that another worker holds is passed
-- over. Index ix_customer_merges__open.
SELECT deleted_customer_id, kept_customer_id
FROM raw_shopify.customer_merges
WHERE shop_id = :shop_id AND applied_at IS NULL
ORDER BY merged_at, deleted_customer_id
LIMIT :limit
FOR UPDATE SKIP LOCKED
""")

FIND_SURVIVOR = text("""
-- Returns who is left at the end of a chain of merges. Changes nothing. Primary key. A circle,
-- which Shopify cannot make, ends all the same.
WITH RECURSIVE chain AS (
    SELECT CAST(:customer_id AS bigint) AS customer_id, 0 AS depth
    UNION ALL
    SELECT merges.kept_customer_id, chain.depth + 1
    FROM chain
    INNER JOIN raw_shopify.customer_merges AS merges
        ON
            merges.shop_id = :shop_id
            AND merges.deleted_customer_id = chain.customer_id
    WHERE chain.depth < 50
)

SELECT customer_id FROM chain ORDER BY depth DESC LIMIT 1
""")

FINISH = text("""
-- Changes raw_shopify.customer_merges: done. Primary key.
UPDATE raw_shopify.customer_merges
SET applied_at = :now
WHERE shop_id = :shop_id AND deleted_customer_id = ANY(CAST(:customer_ids AS bigint []))
""")

TOUCH = text("""
-- Changes raw_shopify.customer_touches: the survivors are looked at again, now as one.
INSERT INTO raw_shopify.customer_touches (shop_id, customer_id, touched_at)
SELECT :shop_id, survivors.customer_id, :now
FROM unnest(CAST(:customer_ids AS bigint [])) AS survivors (customer_id)
""")

LOCK_ENROLLMENTS = text("""
-- Returns enrolments of both, older first, and locks them. Index ix_enrollments__customer.
SELECT enrollment_id, automation_id, customer_id, entry_key, state
FROM crm.enrollments
WHERE shop_id = :shop_id AND customer_id IN (:customer_id, :survivor_id)
ORDER BY enrolled_at, enrollment_id
FOR UPDATE
""")

MOVE_ENROLLMENT = text("""
-- Changes crm.enrollments: it is the survivor's; with `is_over` it goes no further. Primary key.
UPDATE crm.enrollments
SET
    customer_id = :survivor_id,
    entry_key = :entry_key,
    state = CASE WHEN :is_over THEN 'exited' ELSE state END,
    exit_reason = CASE WHEN :is_over THEN :reason ELSE exit_reason END,
    due_at = CASE WHEN :is_over THEN NULL ELSE due_at END,
    finished_at = CASE WHEN :is_over THEN CAST(:now AS timestamptz) ELSE finished_at END
WHERE shop_id = :shop_id AND enrollment_id = :enrollment_id
""")

LOCK_MESSAGES = text("""
-- Returns messages of both, older first, and locks them. Index ix_messages__customer.
SELECT
    messages.message_id,
    messages.customer_id,
    messages.dedupe_key,
    messages.step_key,
    messages.state,
    automations.key AS automation
FROM crm.messages
INNER JOIN crm.automations
    ON
        messages.shop_id = automations.shop_id
        AND messages.automation_id = automations.automation_id
WHERE
    messages.shop_id = :shop_id
    AND messages.customer_id IN (:customer_id, :survivor_id)
ORDER BY messages.queued_at, messages.message_id
FOR UPDATE OF messages
""")

MOVE_MESSAGE = text("""
-- Changes crm.messages: it is the survivor's; one that waits beside another of its kind is skipped.
-- Primary key.
UPDATE crm.messages
SET
    customer_id = :survivor_id,
    dedupe_key = :dedupe_key,
    state = CASE WHEN :is_over AND state = 'queued' THEN 'skipped' ELSE state END,
    skip_reason = CASE WHEN :is_over AND state = 'queued' THEN :reason ELSE skip_reason END,
    defer_reason = CASE WHEN :is_over AND state = 'queued' THEN NULL ELSE defer_reason END,
    finished_at = CASE
        WHEN :is_over AND state = 'queued' THEN CAST(:now AS timestamptz) ELSE finished_at
    END
WHERE shop_id = :shop_id AND message_id = :message_id
""")

CLOSE_YOUNGER = text("""
-- Changes crm.segment_memberships: of two open rows the younger ends. Index
-- uq_segment_memberships__one_open.
UPDATE crm.segment_memberships AS membership
SET exited_at = greatest(:now, membership.entered_at), exit_cause = 'merge'
WHERE
    membership.shop_id = :shop_id
    AND membership.customer_id IN (:customer_id, :survivor_id)
    AND membership.exited_at IS NULL
    AND EXISTS (
        SELECT 1
        FROM crm.segment_memberships AS older
        WHERE
            older.shop_id = membership.shop_id
            AND older.customer_id IN (:customer_id, :survivor_id)
            AND older.exited_at IS NULL
            AND (older.entered_at, older.membership_id)
            < (membership.entered_at, membership.membership_id)
    )
""")

# Two histories of one person overlap, and at a past date nobody may be in two segments: so one
# stays whole, the other goes on under the number that is gone.
SWAP_HISTORIES = text("""
-- Returns a row for each changed. Changes crm.segment_memberships: the history with the open row
-- becomes the survivor's, the other that of the customer who is gone. Nothing, where the survivor
-- has the open one or nobody has and the survivor has any. Index ix_segment_memberships__customer.
UPDATE crm.segment_memberships AS membership
SET
    customer_id = CASE
        WHEN membership.customer_id = :customer_id THEN CAST(:survivor_id AS bigint)
        ELSE CAST(:customer_id AS bigint)
    END
WHERE
    membership.shop_id = :shop_id
    AND membership.customer_id IN (:customer_id, :survivor_id)
    AND (
        EXISTS (
            SELECT 1
            FROM crm.segment_memberships AS open_row
            WHERE
                open_row.shop_id = :shop_id
                AND open_row.customer_id = :customer_id
                AND open_row.exited_at IS NULL
        )
        OR NOT EXISTS (
            SELECT 1
            FROM crm.segment_memberships AS any_row
            WHERE any_row.shop_id = :shop_id AND any_row.customer_id = :survivor_id
        )
    )
RETURNING 1
""")

DROP_CONSENTS = text("""
-- Changes crm.write_backs: a consent belongs to an address; where the survivor's is another one,
-- nothing is to be written any more. Indexes ix_write_backs__customer, pk_customers.
UPDATE crm.write_backs
SET state = 'superseded', next_attempt_at = NULL, finished_at = :now
FROM raw_shopify.customers AS gone
LEFT JOIN raw_shopify.customers AS survivor
    ON gone.shop_id = survivor.shop_id AND survivor.customer_id = :survivor_id
WHERE
    write_backs.shop_id = :shop_id
    AND write_backs.customer_id = :customer_id
    AND write_backs.kind = 'consent'
    AND write_backs.state = 'queued'
    AND gone.shop_id = :shop_id
    AND gone.customer_id = :customer_id
    AND gone.email_normalized IS DISTINCT FROM survivor.email_normalized
""")

MOVE_WRITE_BACKS = text("""
-- Changes crm.write_backs: written to the survivor from now on. Index ix_write_backs__customer.
UPDATE crm.write_backs
SET customer_id = :survivor_id
WHERE shop_id = :shop_id AND customer_id = :customer_id
""")

SUPERSEDE_WRITE_BACKS = text("""
-- Changes crm.write_backs: of the same kind and tag only the latest wish counts.
-- Index ix_write_backs__customer.
UPDATE crm.write_backs AS earlier
SET state = 'superseded', finished_at = :now
WHERE
    earlier.shop_id = :shop_id
    AND earlier.customer_id = :survivor_id
    AND earlier.state = 'queued'
    AND EXISTS (
        SELECT 1
        FROM crm.write_backs AS later
        WHERE
            later.shop_id = earlier.shop_id
            AND later.customer_id = earlier.customer_id
            AND (later.kind = 'consent') = (earlier.kind = 'consent')
            AND lower(later.tag) IS NOT DISTINCT FROM lower(earlier.tag)
            AND (later.requested_at, later.write_back_id)
            > (earlier.requested_at, earlier.write_back_id)
    )
""")


@dataclass(frozen=True)
class _Pair:
    """Who is gone, and who is left."""

    shop_id: int
    customer_id: int
    survivor_id: int

    def parameters(self) -> dict[str, int]:
        return {
            "shop_id": self.shop_id,
            "customer_id": self.customer_id,
            "survivor_id": self.survivor_id,
        }


def apply_merges(session: Session, shop_id: int, *, now: datetime, limit: int = LIMIT) -> int:
    """Apply what waits, in the caller's transaction; returns how many merges."""
    claimed = session.execute(CLAIM, {"shop_id": shop_id, "limit": limit}).all()
    if not claimed:
        return 0
    lock_shop(session, shop_id)
    pairs = [_pair(session, shop_id, row) for row in claimed]
    for pair in pairs:
        if pair.survivor_id != pair.customer_id:
            _apply(session, pair, now=now)
    gone = [pair.customer_id for pair in pairs]
    session.execute(FINISH, {"shop_id": shop_id, "customer_ids": gone, "now": now})
    survivors = [pair.survivor_id for pair in pairs]
    session.execute(TOUCH, {"shop_id": shop_id, "customer_ids": survivors, "now": now})
    return len(pairs)


def _pair(session: Session, shop_id: int, row: Row[Any]) -> _Pair:
    survivor: int = session.execute(
        FIND_SURVIVOR, {"shop_id": shop_id, "customer_id": row.kept_customer_id}
    ).scalar_one()
    return _Pair(shop_id, row.deleted_customer_id, survivor)


def _apply(session: Session, pair: _Pair, *, now: datetime) -> None:
    _move_messages(session, pair, now=now)
    _move_enrollments(session, pair, now=now)
    for statement in (
        CLOSE_YOUNGER,
        SWAP_HISTORIES,
        DROP_CONSENTS,
        MOVE_WRITE_BACKS,
        SUPERSEDE_WRITE_BACKS,
    ):
        wanted = statement.compile().params.keys()
        given = pair.parameters() | {"now": now}
        session.execute(statement, {name: given[name] for name in wanted})


def _move_enrollments(session: Session, pair: _Pair, *, now: datetime) -> None:
    """The first of each entry keeps the key, and goes on where it stands."""
    groups: dict[tuple[int, str], list[Row[Any]]] = defaultdict(list)
    for row in session.execute(LOCK_ENROLLMENTS, pair.parameters()):
        groups[row.automation_id, row.entry_key].append(row)
    for (_, entry_key), rows in groups.items():
        # Others first: until they have a key of their own, the one that stays cannot have this one.
        for row in reversed(rows):
            stays = row is rows[0]
            if stays and row.customer_id == pair.survivor_id:
                continue
            session.execute(
                MOVE_ENROLLMENT,
                {
                    "shop_id": pair.shop_id,
                    "survivor_id": pair.survivor_id,
                    "enrollment_id": row.enrollment_id,
                    "entry_key": entry_key if stays else displaced(entry_key, row.enrollment_id),
                    "is_over": not stays and row.state == EnrollmentState.ACTIVE,
                    "reason": EXIT_MERGED,
                    "now": now,
                },
            )


def _move_messages(session: Session, pair: _Pair, *, now: datetime) -> None:
    groups: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(LOCK_MESSAGES, pair.parameters()):
        groups[_key_at_survivor(row, pair)].append(row)
    for key, rows in groups.items():
        staying = _staying(rows)
        for row in sorted(rows, key=lambda row: row is staying):
            stays = row is staying
            if stays and row.customer_id == pair.survivor_id:
                continue
            session.execute(
                MOVE_MESSAGE,
                {
                    "shop_id": pair.shop_id,
                    "survivor_id": pair.survivor_id,
                    "message_id": row.message_id,
                    "dedupe_key": key if stays else displaced(key, row.message_id),
                    "is_over": not stays,
                    "reason": SkipReason.EXITED.value,
                    "now": now,
                },
            )


def _key_at_survivor(row: Row[Any], pair: _Pair) -> str:
    key = key_of_survivor(
        row.dedupe_key,
        automation=row.automation,
        step_key=row.step_key,
        customer_id=pair.customer_id,
        survivor_id=pair.survivor_id,
    )
    return key or row.dedupe_key


def _staying(rows: Sequence[Row[Any]]) -> Row[Any]:
    """One that has left, or may have; else the oldest."""
    return next((row for row in rows if row.state not in WAITING), rows[0])
