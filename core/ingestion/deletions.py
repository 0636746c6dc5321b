"""What Shopify deleted: customers are hidden, orders go, neither comes back (decision 18).

Who deletes orders holds the writers' lock of the shop (`hold_writers`): nobody is just writing
one of them, so none can appear again behind the deletion.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion import statistics
from core.ingestion.statements import statement
from core.models.enums import ObjectType
from core.shopify.rest import LONG_AGO

# Held by one transaction alone: what deletes, merges or applies a bulk file. Held by many at once:
# groups of webhooks and reads by id. The function take_webhooks spells the same key.
KEY = "hashtext('ecomcrm bulk apply')"


def hold_writers(session: Session, shop_id: int) -> None:
    """Wait until nobody writes the shop's data, and keep everybody from it until we commit."""
    session.execute(text(f"SELECT pg_advisory_xact_lock({KEY}, :shop_id)"), {"shop_id": shop_id})


def join_writers(session: Session, shop_id: int) -> bool:
    """Whether the shop's data may be written now; then it may until the transaction ends."""
    joined: bool = session.execute(
        text(f"SELECT pg_try_advisory_xact_lock_shared({KEY}, :shop_id)"), {"shop_id": shop_id}
    ).scalar_one()
    return joined


def hide_customers(session: Session, shop_id: int, gone: Mapping[int, datetime]) -> None:
    """Hidden and never mailed from then on; their orders stay, for the shop's revenue."""
    if not gone:
        return
    ids, times = list(gone), list(gone.values())
    session.execute(
        statement("hide_customers"),
        {
            "shop_id": shop_id,
            "customer_ids": ids,
            "gone_at": times,
            "merged_into": None,
            "long_ago": LONG_AGO,
        },
    )
    _bury(session, shop_id, ObjectType.CUSTOMER, ids, times)


def delete_orders(
    session: Session, shop_id: int, gone: Mapping[int, datetime], *, at: datetime
) -> None:
    """The orders with their lines and refunds. The caller holds the writers' lock."""
    if not gone:
        return
    ids = list(gone)
    _bury(session, shop_id, ObjectType.ORDER, ids, list(gone.values()))
    held = session.execute(
        statement("lock_orders", which="stored.order_id = ANY(CAST(:order_ids AS bigint[]))"),
        {"shop_id": shop_id, "order_ids": ids},
    ).all()
    touched = sorted({row.customer_id for row in held if row.customer_id is not None})
    statistics.lock(session, shop_id, touched)
    session.execute(statement("delete_orders"), {"shop_id": shop_id, "order_ids": ids})
    statistics.recompute(session, shop_id, touched, touched_at=at)


def deleted_orders(session: Session, shop_id: int, order_ids: Sequence[int]) -> set[int]:
    """Those of these orders that Shopify has deleted."""
    found = session.execute(
        text(
            "SELECT object_id FROM raw_shopify.deleted_objects WHERE shop_id = :shop_id"
            " AND object_type = 'Order' AND object_id = ANY(CAST(:ids AS bigint[]))"
        ),
        {"shop_id": shop_id, "ids": list(order_ids)},
    )
    return set(found.scalars())


def hide_checkout(
    session: Session, shop_id: int, *, token: str | None, number: int | None, gone_at: datetime
) -> None:
    """Shopify's body has the id and no token; of a checkout that only webhooks told us of, the id
    is in the name. One we do not know yet comes hidden. The caller holds the writers' lock.
    """
    if number is not None:
        _bury(session, shop_id, ObjectType.CHECKOUT, [number], [gone_at])
    session.execute(
        statement("hide_checkouts"),
        {
            "shop_id": shop_id,
            "number": number,
            "token": token,
            "gone_at": gone_at,
            "long_ago": LONG_AGO,
        },
    )


def _bury(
    session: Session,
    shop_id: int,
    kind: ObjectType,
    ids: Sequence[int],
    times: Sequence[datetime],
) -> None:
    session.execute(
        statement("bury_objects"),
        {
            "shop_id": shop_id,
            "object_type": kind.value,
            "object_ids": list(ids),
            "gone_at": list(times),
        },
    )
