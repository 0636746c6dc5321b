"""Putting addresses on the list, each once per reason, and into the ledger of consent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.consent.ledger import Act, Change, record
from activation.consent.standing import Standing, read_standings
from core.models.enums import (
    ConsentSource,
    ConsentStanding,
    SuppressionReason,
    SuppressionSource,
)

ADD = text("""
-- Returns what is new. Changes crm.suppressions: one row per address and reason. One that was
-- lifted holds anew, unless it is the same mail that is told of once more, or something from before
-- the lifting. Rows are locked in the order of their key. Primary key.
INSERT INTO crm.suppressions AS suppression (
    shop_id, email_normalized, reason, message_id, suppressed_at, source
)
SELECT DISTINCT ON (given.shop_id, given.email, given.reason)
    given.shop_id,
    given.email,
    given.reason,
    given.message_id,
    given.suppressed_at,
    :source
FROM
    unnest(
        CAST(:shop_ids AS integer []),
        CAST(:emails AS text []),
        CAST(:reasons AS text []),
        CAST(:message_ids AS bigint []),
        CAST(:suppressed_at AS timestamptz [])
    ) AS given (shop_id, email, reason, message_id, suppressed_at)
ORDER BY given.shop_id, given.email, given.reason, given.suppressed_at
ON CONFLICT (shop_id, email_normalized, reason) DO UPDATE
    SET
        lifted_at = NULL,
        message_id = excluded.message_id,
        suppressed_at = excluded.suppressed_at,
        source = excluded.source
    WHERE
        suppression.lifted_at IS NOT NULL
        AND CASE
            WHEN excluded.message_id IS NULL
                THEN suppression.lifted_at < excluded.suppressed_at
            ELSE suppression.message_id IS DISTINCT FROM excluded.message_id
        END
RETURNING
    suppression.shop_id,
    suppression.email_normalized,
    suppression.reason,
    suppression.message_id,
    suppression.suppressed_at
""")


@dataclass(frozen=True)
class Entry:
    """An address that is to be on the list. `message_id` is the mail that led to it, if one did."""

    shop_id: int
    email: str
    reason: SuppressionReason
    at: datetime
    message_id: int | None = None


def normalized(email: str) -> str:
    """As the database writes it: `lower(btrim(…))`, which trims spaces only."""
    return email.strip(" ").lower()


def add(
    session: Session,
    entries: Sequence[Entry],
    *,
    source: SuppressionSource,
    user_id: int | None = None,
) -> list[Entry]:
    """Put addresses on the list; returns those that were not on it for that reason."""
    if not entries:
        return []
    addresses = {(each.shop_id, normalized(each.email)) for each in entries}
    before = read_standings(session, sorted(addresses))
    rows = session.execute(
        ADD,
        {
            "source": source.value,
            "shop_ids": [each.shop_id for each in entries],
            "emails": [normalized(each.email) for each in entries],
            "reasons": [each.reason.value for each in entries],
            "message_ids": [each.message_id for each in entries],
            "suppressed_at": [each.at for each in entries],
        },
    )
    added = [
        Entry(
            row.shop_id,
            row.email_normalized,
            SuppressionReason(row.reason),
            row.suppressed_at,
            row.message_id,
        )
        for row in rows
    ]
    _tell_ledger(session, added, before, source=source, user_id=user_id)
    return added


_Standings = dict[tuple[int, str], Standing]


def _tell_ledger(
    session: Session,
    added: Sequence[Entry],
    before: _Standings,
    *,
    source: SuppressionSource,
    user_id: int | None,
) -> None:
    by_act: dict[ConsentSource, list[Change]] = {}
    for entry in added:
        is_unsubscribe = entry.reason is SuppressionReason.UNSUBSCRIBED
        standing = before[entry.shop_id, entry.email].state
        after = ConsentStanding.UNSUBSCRIBED if is_unsubscribe else ConsentStanding.SUPPRESSED
        if is_unsubscribe and standing is ConsentStanding.SUPPRESSED:
            after = standing
        by_act.setdefault(_act(entry.reason, source), []).append(
            Change(
                shop_id=entry.shop_id,
                email_normalized=entry.email,
                state_before=standing,
                state_after=after,
                occurred_at=entry.at,
                message_id=entry.message_id,
                user_id=user_id,
            )
        )
    for act, changes in by_act.items():
        record(session, Act(act), changes)


def _act(reason: SuppressionReason, source: SuppressionSource) -> ConsentSource:
    if source is SuppressionSource.FILE:
        return ConsentSource.IMPORT
    match reason:
        case SuppressionReason.COMPLAINT:
            return ConsentSource.COMPLAINT
        case SuppressionReason.HARD_BOUNCE:
            return ConsentSource.HARD_BOUNCE
        case _:
            return ConsentSource.OWNER
