"""Where an address stands, all in all, by the order of authority (DESIGN §4):

    erased, complaint, hard bounce  >  our unsubscribe  >  Shopify's state

Our unsubscribe is over once undone, or once Shopify tells of a subscription later than it. This is
what pages and the ledger say; may a mail leave is decided by activation/eligibility, by the same
order.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core.models.enums import ConsentStanding

LOCK_ADDRESS = text("""
-- Changes nothing; holds off others who change this address until commit.
SELECT pg_advisory_xact_lock(hashtextextended('consent/' || :shop_id || '/' || :email, 0))
""")

READ_STANDINGS = text("""
-- Returns one row per address: what is known of it. What Shopify is still to be told counts as
-- told, unless Shopify knows better by now. Changes nothing.
-- Indexes pk_suppressions, ix_customers__email, ix_write_backs__customer.
SELECT
    asked.shop_id,
    asked.email,
    EXISTS (
        SELECT 1
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = asked.shop_id
            AND suppressions.email_normalized = asked.email
            AND suppressions.reason <> 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS is_suppressed,
    (
        SELECT suppressions.suppressed_at
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = asked.shop_id
            AND suppressions.email_normalized = asked.email
            AND suppressions.reason = 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS unsubscribed_at,
    told.consent_state,
    told.consent_updated_at
FROM unnest(CAST(:shop_ids AS integer []), CAST(:emails AS text [])) AS asked (shop_id, email)
LEFT JOIN LATERAL (
    SELECT
        coalesce(wish.consent_state, customers.consent_state) AS consent_state,
        coalesce(wish.consent_at, customers.consent_updated_at) AS consent_updated_at
    FROM raw_shopify.customers
    LEFT JOIN LATERAL (
        SELECT last_wish.consent_state, last_wish.consent_at
        FROM crm.write_backs AS last_wish
        WHERE
            last_wish.shop_id = customers.shop_id
            AND last_wish.customer_id = customers.customer_id
            AND last_wish.kind = 'consent'
            AND last_wish.state IN ('queued', 'done')
        ORDER BY last_wish.write_back_id DESC
        LIMIT 1
    ) AS wish
        ON
            wish.consent_at
            > coalesce(customers.consent_updated_at, CAST('-infinity' AS timestamptz))
    WHERE
        customers.shop_id = asked.shop_id
        AND customers.email_normalized = asked.email
        AND customers.deleted_at IS NULL
        AND customers.consent_state IS NOT NULL
    ORDER BY
        coalesce(wish.consent_at, customers.consent_updated_at) DESC NULLS LAST,
        coalesce(wish.consent_state, customers.consent_state) = 'SUBSCRIBED',
        customers.customer_id
    LIMIT 1
) AS told ON true
""")


@dataclass(frozen=True)
class Standing:
    """`is_ours`: our own unsubscribe is what holds now. `state` None: nothing is known."""

    state: ConsentStanding | None
    is_ours: bool = False


def lock_address(session: Session, shop_id: int, email: str) -> None:
    """Two clicks at once are two changes one after the other."""
    session.execute(LOCK_ADDRESS, {"shop_id": str(shop_id), "email": email})


def read_standing(session: Session, shop_id: int, email: str) -> Standing:
    """Of a normalised address."""
    return read_standings(session, [(shop_id, email)])[shop_id, email]


def read_standings(
    session: Session, addresses: Collection[tuple[int, str]]
) -> dict[tuple[int, str], Standing]:
    """By shop and normalised address. Of several customers with one the one who decided last
    counts, and of two at one time the one that forbids.
    """
    rows = session.execute(
        READ_STANDINGS,
        {
            "shop_ids": [shop_id for shop_id, _ in addresses],
            "emails": [email for _, email in addresses],
        },
    )
    return {(row.shop_id, row.email): _standing(row) for row in rows}


def _standing(row: Row[Any]) -> Standing:
    told = row.consent_state and ConsentStanding(row.consent_state)
    is_ours = row.unsubscribed_at is not None and not (
        told is ConsentStanding.SUBSCRIBED
        and row.consent_updated_at is not None
        and row.consent_updated_at > row.unsubscribed_at
    )
    if row.is_suppressed:
        return Standing(ConsentStanding.SUPPRESSED, is_ours)
    return Standing(ConsentStanding.UNSUBSCRIBED if is_ours else told, is_ours)
