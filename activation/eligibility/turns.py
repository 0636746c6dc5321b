"""Whose turn it is at an address, while several workers freeze mail.

A worker that wants to write to an address takes its turn there until its transaction ends, so what
it counts is all there is. Nobody waits for a turn: a mail whose address is another worker's just
now is looked at again a moment later. So workers cannot lock each other out, in whatever order they
come to their addresses.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.arrays import array_text
from core.models.enums import DeferReason

TAKE_TURNS = text("""
-- Returns the address of each subject whose turn is ours now, until the transaction ends. Changes
-- nothing but advisory locks. It must be a statement of its own: the next one sees what was
-- committed before the turn was ours. Primary key of customers.
SELECT turns.key, turns.address
FROM (
    SELECT
        subject.key,
        customers.email_normalized AS address,
        pg_try_advisory_xact_lock(
            hashtextextended('ecomcrm mail to ' || customers.email_normalized, :shop_id)
        ) AS is_ours
    FROM unnest(CAST(:keys AS bigint []), CAST(:customer_ids AS bigint []))
        AS subject (key, customer_id)
    INNER JOIN raw_shopify.customers
        ON customers.shop_id = :shop_id AND customers.customer_id = subject.customer_id
) AS turns
WHERE turns.is_ours
""")

GIVE_BACK = text(f"""
-- Changes crm.messages: what waited for a mail to these addresses that now never leaves is due
-- again. Index ix_messages__address.
UPDATE crm.messages
SET due_at = :now
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id IN (
        SELECT waiting.message_id
        FROM crm.messages AS waiting
        WHERE
            waiting.shop_id = :shop_id
            AND lower(btrim(waiting.email)) IN (
                SELECT lower(btrim(given.email))
                FROM unnest(CAST(:emails AS text [])) AS given (email)
            )
            AND coalesce(waiting.sent_at, waiting.frozen_at) IS NULL
            AND waiting.state NOT IN ('skipped', 'failed')
            AND waiting.defer_reason = '{DeferReason.FREQUENCY_CAP.value}'
            AND waiting.due_at > :now
        FOR UPDATE SKIP LOCKED
    )
""")


def take_turns(
    session: Session, shop_id: int, customer_ids: Sequence[tuple[int, int | None]]
) -> dict[int, str]:
    """The normalised address of each (key, customer) whose turn this transaction has now."""
    rows = session.execute(
        TAKE_TURNS,
        {
            "shop_id": shop_id,
            "keys": array_text([key for key, _ in customer_ids]),
            "customer_ids": array_text([customer_id for _, customer_id in customer_ids]),
        },
    )
    return {row.key: row.address for row in rows.all()}


def give_back(
    session: Session, shop_id: int, emails: Iterable[str | None], *, now: datetime
) -> None:
    """Mails to these addresses will never leave: let those that waited for them be looked at."""
    wanted = sorted({email for email in emails if email})
    if wanted:
        session.execute(GIVE_BACK, {"shop_id": shop_id, "emails": wanted, "now": now})
