"""Erasing a whole shop, two days after its owner removed the app.

Everything of the shop goes; its row stays as a shell, without name and secrets, because the hashes
of its customers hang on it: should the shop come back, none of them is mailed on old data. The
people who could log in stay, and so do the receipts.
"""

import re
from datetime import datetime
from typing import Final

import orjson
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from activation.privacy.built import built_tables
from activation.privacy.erase import keep_hashes
from core.ingestion.screen import ErasureHasher, Screen
from core.models import Base, Shop

CHUNK: Final = 5000
KEPT: Final = frozenset({"crm.shops", "crm.shop_members", "crm.privacy_requests"})
ADDRESS: Final = re.compile(r"[^\s\"<>,;:\\]+@[^\s\"<>,;:\\]+")
SHELL: Final = "Erased shop"

NEXT_CUSTOMERS = text("""
-- Returns numbers and addresses of customers behind `after`. Changes nothing. Primary key.
SELECT customer_id, email
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND customer_id > :after
ORDER BY customer_id
LIMIT :limit
""")

OTHER_ADDRESSES = text("""
-- Returns addresses of guests, those that mail went to, those that decided. Changes nothing.
-- Reads the shop's rows.
SELECT email FROM raw_shopify.orders WHERE shop_id = :shop_id AND email IS NOT NULL
UNION
SELECT email FROM raw_shopify.checkouts WHERE shop_id = :shop_id AND email IS NOT NULL
UNION
SELECT email FROM crm.messages WHERE shop_id = :shop_id AND email IS NOT NULL
UNION
SELECT email_normalized
FROM crm.suppressions
WHERE shop_id = :shop_id AND reason <> 'erased'
UNION
SELECT email_normalized
FROM crm.consent_events
WHERE shop_id = :shop_id AND email_normalized IS NOT NULL
""")

ERASE_EVENTS = text("""
-- Returns a row for each event erased. Changes crm.delivery_events: what is about mails of the shop
-- and was never matched to one. Reads all events without a message.
DELETE FROM crm.delivery_events
WHERE
    message_id IS NULL
    AND body #>> '{data,tags,shop_id}' = CAST(CAST(:shop_id AS integer) AS text)
RETURNING 1
""")

READ_NOBODYS_EVENTS = text("""
-- Returns events without message and shop. Changes nothing. Reads all events without a message.
SELECT provider, event_id, body
FROM crm.delivery_events
WHERE
    message_id IS NULL
    AND body <> '{}'
    AND body #>> '{data,tags,shop_id}' IS NULL
""")

EMPTY_EVENT = text("""
-- Changes crm.delivery_events: only that it came stays. Primary key.
UPDATE crm.delivery_events
SET body = '{}', error = NULL
WHERE provider = :provider AND event_id = :event_id
""")

ERASE_REQUESTS = text("""
-- Returns a row for each request emptied. Changes crm.privacy_requests: of all others of the shop
-- only the receipts stay; what was not answered never will be. Primary key.
UPDATE crm.privacy_requests
SET
    subject = NULL,
    export = NULL,
    error = NULL,
    finished_at = coalesce(finished_at, :now),
    next_attempt_at = NULL,
    state = CASE WHEN state = 'pending' THEN 'completed' ELSE state END
WHERE shop_id = :shop_id AND privacy_request_id <> :request_id
RETURNING 1
""")

ERASE_SUPPRESSIONS = text("""
-- Returns a row for each erased. Changes crm.suppressions: all but the hashes. Primary key.
DELETE FROM crm.suppressions
WHERE shop_id = :shop_id AND reason <> 'erased'
RETURNING 1
""")


def screen_customers(
    session: Session, shop_id: int, hasher: ErasureHasher, *, after: int, now: datetime
) -> int:
    """Hashes of the next customers; returns where to go on, 0 at the end."""
    rows = session.execute(
        NEXT_CUSTOMERS, {"shop_id": shop_id, "after": after, "limit": CHUNK}
    ).all()
    keep_hashes(
        session,
        shop_id,
        hasher,
        [row.customer_id for row in rows],
        [row.email for row in rows if row.email],
        now=now,
    )
    last: int = rows[-1].customer_id if rows else 0
    return last


def screen_addresses(
    session: Session, shop_id: int, hasher: ErasureHasher, *, now: datetime
) -> None:
    emails = session.scalars(OTHER_ADDRESSES, {"shop_id": shop_id})
    keep_hashes(session, shop_id, hasher, [], emails, now=now)


def tables_of_shops() -> list[str]:
    """All tables with rows of shops, those that refer to others first."""
    return [
        table.fullname
        for table in reversed(Base.metadata.sorted_tables)
        if "shop_id" in table.columns and table.fullname not in {*KEPT, "crm.suppressions"}
    ]


def erase_table(session: Session, shop_id: int, table: str) -> int:
    # A name of ours, from the metadata.
    statement = text(f"DELETE FROM {table} WHERE shop_id = :shop_id")
    deleted: int = session.execute(statement, {"shop_id": shop_id}).rowcount  # type: ignore[attr-defined]
    return deleted


def erase_rest(
    session: Session, shop_id: int, *, secret_key: SecretStr, request_id: int, now: datetime
) -> dict[str, int]:
    """What hangs on no key of the shop, and what makes the shop's row more than a shell."""
    events = len(session.execute(ERASE_EVENTS, {"shop_id": shop_id}).all())
    events += _empty_nobodys_events(session, shop_id, secret_key)
    session.execute(ERASE_REQUESTS, {"shop_id": shop_id, "request_id": request_id, "now": now})
    counts = {
        "crm.delivery_events": events,
        "crm.suppressions": len(session.execute(ERASE_SUPPRESSIONS, {"shop_id": shop_id}).all()),
    }
    for table in built_tables(session, having="shop_id"):
        counts[table] = erase_table(session, shop_id, table)
    session.execute(
        update(Shop)
        .where(Shop.shop_id == shop_id)
        .values(
            name=SHELL,
            shopify_id=None,
            client_id="",
            client_secret_encrypted="",
            previous_client_secret_encrypted=None,
            previous_client_secret_until=None,
            access_scopes=[],
            sender_name=None,
            sender_address=None,
            reply_to=None,
            postal_address=None,
            logo_url=None,
            logo_dark_url=None,
            webhooks_problem=None,
            first_sync_started_at=None,
            first_sync_completed_at=None,
            baseline_at=None,
        )
    )
    return counts


def _empty_nobodys_events(session: Session, shop_id: int, secret_key: SecretStr) -> int:
    """Events that name no shop, but an address that was this one's customer's."""
    emptied = 0
    for row in session.execute(READ_NOBODYS_EVENTS).all():
        addresses = set(ADDRESS.findall(orjson.dumps(row.body).decode()))
        screen = Screen.load_for(session, shop_id, secret_key, emails=addresses)
        if screen is not None and any(map(screen.is_erased_email, addresses)):
            session.execute(EMPTY_EVENT, {"provider": row.provider, "event_id": row.event_id})
            emptied += 1
    return emptied
