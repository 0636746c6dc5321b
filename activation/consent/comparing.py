"""What Shopify told of consent since, into the ledger: found by comparing, not by listening.

Syncs, reads by id and webhooks write customers in their own ways, and none of them may pay for the
ledger. So activation runs walk a shop's customers in order of their numbers, a range per
transaction, and add what the ledger does not know yet, with Shopify's own time. How far a walk has
got is kept only to go on there: what changes behind it is found by the next one, and what is found
twice is stored once. Of two changes between two walks only the later is seen.

What Shopify tells back of our own writing is no event: it is in the ledger as what it was, an
unsubscribe, an undo, a confirmation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from activation.consent.confirming import ask_for_confirmation
from core.database import SessionFactory, session_scope

RANGE: Final = 20_000  # customers in one transaction
PATIENCE: Final = 2.0  # seconds of one activation run
SHORTEST_PAUSE: Final = timedelta(seconds=10)
# A walk over a million takes seconds, so it comes again after eight minutes: half a per cent.
CUSTOMERS_A_SECOND: Final = 2_000

BEGIN = text("""
-- Returns how far a walk has got (0: a new one may begin), or nothing while none is due. Changes
-- crm.consent_policies: the shop's row is there, and locked; one that another run holds is passed
-- over. Primary key.
WITH made AS (
    INSERT INTO crm.consent_policies (shop_id)
    VALUES (:shop_id)
    ON CONFLICT (shop_id) DO NOTHING
    RETURNING compared_to, double_opt_in
),

kept AS (
    SELECT compared_to, double_opt_in
    FROM crm.consent_policies
    WHERE shop_id = :shop_id AND (compared_to > 0 OR compare_at <= clock_timestamp())
    FOR UPDATE SKIP LOCKED
)

SELECT * FROM made
UNION ALL
SELECT * FROM kept
""")

LAST_OF_RANGE = text("""
-- Returns the last customer of the next range, NULL at the end. Changes nothing. Primary key.
SELECT max(customer_id)
FROM (
    SELECT customer_id
    FROM raw_shopify.customers
    WHERE shop_id = :shop_id AND customer_id > :after
    ORDER BY customer_id
    LIMIT :limit
) AS next_ones
""")

RECORD_TOLD = text("""
-- Returns how many events were new. Changes crm.consent_events: what Shopify tells of these
-- customers and the ledger does not know; crm.consent_confirmations: who unsubscribed at the shop
-- has to confirm anew. Whoever never decided anything is no event.
-- Indexes pk_customers, uq_consent_events__told, ix_consent_events__address,
-- ix_write_backs__customer.
WITH told AS (
    SELECT
        customers.customer_id,
        customers.email_normalized,
        customers.consent_state,
        customers.consent_level,
        coalesce(customers.consent_updated_at, customers.created_at) AS occurred_at
    FROM raw_shopify.customers
    WHERE
        customers.shop_id = :shop_id
        AND customers.customer_id > :after
        AND customers.customer_id <= :last
        AND customers.deleted_at IS NULL
        AND customers.email_normalized IS NOT NULL
        AND customers.consent_state IS NOT NULL
        AND (
            customers.consent_state <> 'NOT_SUBSCRIBED'
            OR customers.consent_updated_at IS NOT NULL
        )
        AND NOT EXISTS (
            SELECT 1
            FROM crm.consent_events AS known
            WHERE
                known.shop_id = :shop_id
                AND known.customer_id > :after
                AND known.customer_id <= :last
                AND known.customer_id = customers.customer_id
                AND known.email_normalized = customers.email_normalized
                AND known.state_after = customers.consent_state
                AND known.occurred_at
                = coalesce(customers.consent_updated_at, customers.created_at)
                AND known.source = 'shopify'
        )
        AND NOT EXISTS (
            SELECT 1
            FROM crm.write_backs AS ours
            WHERE
                ours.shop_id = :shop_id
                AND ours.customer_id = customers.customer_id
                AND ours.kind = 'consent'
                AND ours.state = 'done'
                AND ours.consent_state = customers.consent_state
                AND date_trunc('second', ours.consent_at)
                = date_trunc('second', customers.consent_updated_at)
        )
),

recorded AS (
    INSERT INTO crm.consent_events (
        shop_id, email_normalized, customer_id, state_before, state_after, level, occurred_at,
        source
    )
    SELECT
        :shop_id,
        told.email_normalized,
        told.customer_id,
        (
            SELECT earlier.state_after
            FROM crm.consent_events AS earlier
            WHERE
                earlier.shop_id = :shop_id
                AND earlier.email_normalized = told.email_normalized
                AND earlier.automation_id IS NULL
            ORDER BY earlier.consent_event_id DESC
            LIMIT 1
        ),
        told.consent_state,
        told.consent_level,
        told.occurred_at,
        'shopify'
    FROM told
    ORDER BY told.customer_id
    ON CONFLICT (shop_id, customer_id, email_normalized, state_after, occurred_at)
    WHERE source = 'shopify'
    DO NOTHING
    RETURNING email_normalized, state_after, occurred_at
),

revoked AS (
    UPDATE crm.consent_confirmations
    SET revoked_at = recorded.occurred_at
    FROM recorded
    WHERE
        recorded.state_after = 'UNSUBSCRIBED'
        AND consent_confirmations.shop_id = :shop_id
        AND consent_confirmations.email_normalized = recorded.email_normalized
        AND consent_confirmations.confirmed_at < recorded.occurred_at
)

SELECT count(*) FROM recorded
""")

GO_ON = text("""
-- Changes crm.consent_policies: how far the walk has got, or when the next one may begin.
-- Primary key.
UPDATE crm.consent_policies
SET
    compared_to = :compared_to,
    compare_at = CASE
        WHEN :compared_to = 0
            THEN
                clock_timestamp()
                + greatest(
                    CAST(:pause AS interval),
                    (
                        SELECT count(*)
                        FROM raw_shopify.customers
                        WHERE customers.shop_id = :shop_id
                    ) * interval '1 second' / :customers_a_second
                )
        ELSE compare_at
    END
WHERE shop_id = :shop_id
""")


@dataclass(frozen=True)
class ComparingReport:
    """Events that were new, and addresses that are asked to confirm."""

    recorded: int = 0
    asked: int = 0

    @property
    def progress(self) -> int:
        return self.recorded + self.asked


def compare_due(
    factory: SessionFactory,
    shop_id: int,
    *,
    now: datetime,
    stop: Callable[[], bool] = lambda: False,
    size: int = RANGE,
) -> ComparingReport:
    """Walk the shop's customers where that is due, as far as `PATIENCE` goes. Several runs at once
    are safe. `now` is business time.
    """
    recorded = asked = 0
    ends_at = time.monotonic() + PATIENCE
    while not stop() and time.monotonic() < ends_at:
        done = _compare_range(factory, shop_id, now=now, size=size)
        if done is None:
            break
        recorded += done.recorded
        asked += done.asked
    return ComparingReport(recorded, asked)


def _compare_range(
    factory: SessionFactory, shop_id: int, *, now: datetime, size: int
) -> ComparingReport | None:
    """One transaction; None: nothing is due any more."""
    with session_scope(factory) as session:
        begun = session.execute(BEGIN, {"shop_id": shop_id}).one_or_none()
        if begun is None:
            return None
        values = {"shop_id": shop_id, "after": begun.compared_to}
        last: int | None = session.execute(LAST_OF_RANGE, {**values, "limit": size}).scalar_one()
        report = ComparingReport()
        if last is not None:
            recorded: int = session.execute(RECORD_TOLD, {**values, "last": last}).scalar_one()
            asked = 0
            if begun.double_opt_in:
                asked = ask_for_confirmation(
                    session, shop_id, after=begun.compared_to, last=last, now=now
                )
            report = ComparingReport(recorded, asked)
        session.execute(
            GO_ON,
            {
                "shop_id": shop_id,
                "compared_to": last or 0,
                "pause": SHORTEST_PAUSE,
                "customers_a_second": CUSTOMERS_A_SECOND,
            },
        )
        return report
