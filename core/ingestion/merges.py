"""Customers that Shopify merged: orders, checkouts and statistics follow the one who was kept.

Every merge names the customer who is left in the end: after a→b and b→c, in whatever order we hear
of them, both rows name c. Who writes orders under a merged-away number looks here first. What
activation holds of such a customer follows in its next run (`customer_merges.applied_at`).
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion import refresh_requests, statistics
from core.ingestion.statements import statement
from core.models.enums import ObjectType
from core.shopify.rest import LONG_AGO
from core.shopify.rest_events import Merge


def merge(
    session: Session, shop_id: int, told: Merge, *, merged_at: datetime, at: datetime
) -> None:
    """Merge one customer into another, once. The caller holds the writers' lock."""
    kept = _survivor(session, shop_id, told.kept_id)
    if kept == told.deleted_id:
        return
    is_new = _keep(session, shop_id, told.deleted_id, kept, merged_at)
    # Also when told twice: the earlier time counts, whichever comes first.
    _hide(session, shop_id, told.deleted_id, kept, merged_at)
    if not is_new:
        return
    values = {"shop_id": shop_id, "gone": told.deleted_id, "kept": kept}
    session.execute(
        text(
            "UPDATE raw_shopify.customers SET merged_into = :kept"
            " WHERE shop_id = :shop_id AND merged_into = :gone"
        ),
        values,
    )
    session.execute(statement("lock_orders", which="stored.customer_id = :gone"), values)
    both = [told.deleted_id, kept]
    statistics.lock(session, shop_id, both)
    for table in ("orders", "checkouts"):
        session.execute(
            text(
                f"UPDATE raw_shopify.{table}"
                " SET customer_id = :kept, loaded_at = clock_timestamp()"
                " WHERE shop_id = :shop_id AND customer_id = :gone"
            ),
            values,
        )
    statistics.recompute(session, shop_id, both, touched_at=at)
    refresh_requests.request(session, shop_id, ObjectType.CUSTOMER, [kept], "merged", at=at)


def kept_of(session: Session, shop_id: int, customer_ids: Iterable[int]) -> dict[int, int]:
    """Those of these customers who were merged away, with who was kept."""
    found = session.execute(
        text(
            "SELECT deleted_customer_id, kept_customer_id FROM raw_shopify.customer_merges"
            " WHERE shop_id = :shop_id"
            " AND deleted_customer_id = ANY(CAST(:ids AS bigint[]))"
        ),
        {"shop_id": shop_id, "ids": list(customer_ids)},
    )
    return {row.deleted_customer_id: row.kept_customer_id for row in found}


def _survivor(session: Session, shop_id: int, customer_id: int) -> int:
    return kept_of(session, shop_id, [customer_id]).get(customer_id, customer_id)


def _keep(session: Session, shop_id: int, gone: int, kept: int, merged_at: datetime) -> bool:
    """False when this customer was merged before."""
    values = {"shop_id": shop_id, "gone": gone, "kept": kept, "merged_at": merged_at}
    added = session.execute(
        text(
            "INSERT INTO raw_shopify.customer_merges"
            " (shop_id, deleted_customer_id, kept_customer_id, merged_at)"
            " VALUES (:shop_id, :gone, :kept, :merged_at)"
            " ON CONFLICT (shop_id, deleted_customer_id) DO NOTHING"
            " RETURNING deleted_customer_id"
        ),
        values,
    ).scalar_one_or_none()
    session.execute(
        text(
            "UPDATE raw_shopify.customer_merges SET kept_customer_id = :kept"
            " WHERE shop_id = :shop_id AND kept_customer_id = :gone"
        ),
        values,
    )
    return added is not None


def _hide(session: Session, shop_id: int, gone: int, kept: int, merged_at: datetime) -> None:
    session.execute(
        statement("hide_customers"),
        {
            "shop_id": shop_id,
            "customer_ids": [gone],
            "gone_at": [merged_at],
            "merged_into": kept,
            "long_ago": LONG_AGO,
        },
    )
