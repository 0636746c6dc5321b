"""`suppression.added` and `suppression.removed`: the provider's list changed.

The list is the account's, and several shops may send through one account: an address on it can be
mailed by none of them. It is put on the list of each shop that has a customer with that address; of
whoever no shop knows nothing is kept here, and the provider will say so when they are mailed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.events.engagements import moment
from activation.suppressions.adding import Entry, add, normalized
from core.models.enums import SuppressionReason, SuppressionSource

ADDED: Final = "suppression.added"
REMOVED: Final = "suppression.removed"
EVENTS: Final = frozenset({ADDED, REMOVED})
REASONS: Final[Mapping[str, SuppressionReason]] = {
    "bounce": SuppressionReason.HARD_BOUNCE,
    "complaint": SuppressionReason.COMPLAINT,
    "manual": SuppressionReason.MANUAL,
}

FIND_SHOPS = text("""
-- Returns the shops that have a customer with one of these addresses. Changes nothing.
-- Index ix_customers__email, once per shop.
SELECT DISTINCT shops.shop_id, asked.email
FROM unnest(CAST(:emails AS text [])) AS asked (email)
CROSS JOIN crm.shops
INNER JOIN raw_shopify.customers
    ON shops.shop_id = customers.shop_id AND asked.email = customers.email_normalized
""")

FIND_LISTED = text("""
-- Returns the shops whose list has this address. Changes nothing. Primary key, once per shop.
SELECT suppressions.shop_id
FROM crm.shops
INNER JOIN crm.suppressions
    ON shops.shop_id = suppressions.shop_id AND suppressions.email_normalized = :email
""")

TAKE_OFF = text("""
-- Changes crm.suppressions: what was on it only because the provider had it there by hand goes, and
-- what we had told the provider it has no more. Bounces and complaints stay: only the owner
-- lifts those, with a reason. Primary key, once per shop.
UPDATE crm.suppressions
SET
    lifted_at = CASE
        WHEN suppressions.source = 'provider' AND suppressions.reason = 'manual'
            THEN coalesce(suppressions.lifted_at, :now)
        ELSE suppressions.lifted_at
    END,
    pushed_at = NULL
FROM crm.shops
WHERE
    shops.shop_id = suppressions.shop_id
    AND suppressions.email_normalized = :email
    AND suppressions.reason <> 'erased'
    AND (suppressions.pushed_at IS NOT NULL OR suppressions.source = 'provider')
""")


@dataclass(frozen=True)
class Listed:
    """One line of the provider's list."""

    email: str
    origin: str
    at: datetime


def apply(session: Session, event_type: str, data: Mapping[str, Any], *, now: datetime) -> bool:
    """Whether any shop has to do with the address."""
    email = data.get("email")
    if not isinstance(email, str) or not email:
        return False
    if event_type == ADDED:
        listed = Listed(email, str(data.get("origin")), moment(data.get("created_at")) or now)
        return take_over(session, [listed]) > 0
    found = session.execute(FIND_LISTED, {"email": normalized(email)}).all()
    session.execute(TAKE_OFF, {"email": normalized(email), "now": now})
    return bool(found)


def take_over(session: Session, lines: Sequence[Listed]) -> int:
    """Put lines of the provider's list on those of the shops concerned; how many it concerns.

    What a shop's list has for that reason already stays as it is, and so does what was lifted
    after the provider had put it there.
    """
    listed = {normalized(each.email): each for each in lines}
    rows = session.execute(FIND_SHOPS, {"emails": sorted(listed)}).all()
    entries = [
        Entry(
            row.shop_id,
            row.email,
            REASONS.get(listed[row.email].origin, SuppressionReason.MANUAL),
            listed[row.email].at,
        )
        for row in rows
    ]
    add(session, entries, source=SuppressionSource.PROVIDER)
    return len(entries)
