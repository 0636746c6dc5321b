"""Erasing one person from everything we hold about a shop's customers.

    screen      their hashes, and whom to look for; committed. From here on nobody mails or stores
                them, once the transactions that began earlier are over
    (wait)      for those, and for a sync that began earlier and does not know yet
    batches     frozen mails to them
    bodies      webhooks, rejected lines, events; a chunk per transaction
    rows        all tables in one transaction, together with the receipt

Every step can be repeated, and what a process that died has done is done.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.privacy.built import built_tables
from activation.privacy.holdings import HOLDINGS, erase_statement
from activation.privacy.person import Person
from core.ingestion.screen import ErasureHasher

INSERT_HASHES = text("""
-- Changes crm.suppressions: these people are never stored nor mailed again. Primary key.
INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)
SELECT :shop_id, hashed.hash, 'erased', :now
FROM unnest(CAST(:hashes AS text [])) AS hashed (hash)
ON CONFLICT (shop_id, email_normalized, reason) DO UPDATE SET lifted_at = NULL
    WHERE suppressions.lifted_at IS NOT NULL
""")

STOP_WRITE_BACKS = text("""
-- Changes crm.write_backs: Shopify is told nothing more about them. Index ix_write_backs__customer.
UPDATE crm.write_backs
SET state = 'superseded', next_attempt_at = NULL, finished_at = :now
WHERE
    shop_id = :shop_id
    AND customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND state = 'queued'
""")


def screen_person(
    session: Session, shop_id: int, person: Person, hasher: ErasureHasher, *, now: datetime
) -> None:
    """From the caller's commit on, whoever looks knows that the person is erased."""
    keep_hashes(session, shop_id, hasher, person.customer_ids, person.emails, now=now)
    session.execute(
        STOP_WRITE_BACKS,
        {"shop_id": shop_id, "customer_ids": list(person.customer_ids), "now": now},
    )


def keep_hashes(
    session: Session,
    shop_id: int,
    hasher: ErasureHasher,
    customer_ids: Iterable[int],
    emails: Iterable[str],
    *,
    now: datetime,
) -> None:
    hashes = {hasher.key_check}
    hashes.update(map(hasher.customer, customer_ids))
    hashes.update(map(hasher.email, emails))
    session.execute(INSERT_HASHES, {"shop_id": shop_id, "hashes": sorted(hashes), "now": now})


def erase_rows(
    session: Session, shop_id: int, person: Person, *, request_id: int, now: datetime
) -> dict[str, int]:
    """Erase the person from every table; returns rows by table."""
    parameters = {**person.parameters(shop_id), "request_id": request_id, "now": now}
    counts: Counter[str] = Counter()
    for holding in HOLDINGS:
        if holding.erased is not None:
            counts[holding.table] += _count(session, erase_statement(holding), parameters)
    for table in built_tables(session, having="customer_id"):
        sql = (
            f"DELETE FROM {table} WHERE shop_id = :shop_id"
            " AND customer_id = ANY(CAST(:customer_ids AS bigint [])) RETURNING 1"
        )
        counts[table] += _count(session, sql, parameters)
    return dict(counts)


def _count(session: Session, sql: str, parameters: dict[str, Any]) -> int:
    statement = text(sql)
    wanted = {name: parameters[name] for name in statement.compile().params}
    rows: Sequence[Any] = session.execute(statement, wanted).all()
    return len(rows)
