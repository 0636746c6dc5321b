"""Objects that Shopify was asked for and has no longer: their webhook was lost, or never sent.

Asked for about an hour and answered with nothing each time, what we hold has been deleted there.
The shop's sync log says so.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.ingestion import deletions
from core.ingestion.sync_log import WORDS, note_between_syncs
from core.models import Shop
from core.models.enums import ObjectType
from core.shops import business_clock

log = logging.getLogger(__name__)

ALL_ORDERS: Final = "read_all_orders"
# Without that scope Shopify shows orders of 60 days; one that is nearly so old may just be hidden.
SHOWN_FOR: Final = timedelta(days=58)
LOCK_TIMEOUT: Final = "3s"


def find_gone(
    factory: SessionFactory,
    shop_id: int,
    kind: ObjectType,
    *,
    hidden: Sequence[int],
    given_up: Sequence[int],
    clock: Clock,
) -> set[int]:
    """Delete what Shopify has deleted. Returns what is gone: just now, or long since.

    `hidden`: what Shopify did not show now. `given_up`: those of them it has not shown for long.
    """
    if kind not in (ObjectType.CUSTOMER, ObjectType.ORDER) or not hidden:
        return set()
    with session_scope(factory) as session:
        known = _known(session, shop_id, kind, hidden)
    wanted = [number for number in given_up if number not in known]
    if not wanted:
        return known
    try:
        with session_scope(factory) as session:
            at = business_clock(session.get_one(Shop, shop_id), clock).now()
            return known | _delete(session, shop_id, kind, wanted, at=at)
    except OperationalError:  # somebody applies a file; the next round finds the same
        log.warning("Shop %d: %d deletions have to wait.", shop_id, len(wanted))
        return known


def _known(session: Session, shop_id: int, kind: ObjectType, ids: Sequence[int]) -> set[int]:
    if kind is ObjectType.ORDER:
        return deletions.deleted_orders(session, shop_id, ids)
    found = session.execute(
        text(
            "SELECT customer_id FROM raw_shopify.customers WHERE shop_id = :shop_id"
            " AND customer_id = ANY(CAST(:ids AS bigint[])) AND deleted_at IS NOT NULL"
        ),
        {"shop_id": shop_id, "ids": list(ids)},
    )
    return set(found.scalars())


def _delete(
    session: Session, shop_id: int, kind: ObjectType, ids: Sequence[int], *, at: datetime
) -> set[int]:
    session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    if kind is ObjectType.CUSTOMER:
        held = _held_customers(session, shop_id, ids)
        deletions.hide_customers(session, shop_id, dict.fromkeys(held, at))
    else:
        deletions.hold_writers(session, shop_id)
        held = _held_orders(session, shop_id, ids, at=at)
        deletions.delete_orders(session, shop_id, dict.fromkeys(held, at), at=at)
    if held:
        done = "hidden" if kind is ObjectType.CUSTOMER else "deleted"
        words = (
            f"Of the {WORDS[kind]} we held, Shopify no longer has {len(held):,}, though no webhook "
            f"told of it. They are {done} here too."
        )
        note_between_syncs(session, shop_id, words, kind, at=at)
    return set(held)


def _held_customers(session: Session, shop_id: int, ids: Sequence[int]) -> list[int]:
    found = session.execute(
        text(
            "SELECT customer_id FROM raw_shopify.customers WHERE shop_id = :shop_id"
            " AND customer_id = ANY(CAST(:ids AS bigint[])) ORDER BY customer_id"
        ),
        {"shop_id": shop_id, "ids": list(ids)},
    )
    return list(found.scalars())


def _held_orders(session: Session, shop_id: int, ids: Sequence[int], *, at: datetime) -> list[int]:
    """Without those that Shopify may only hide from an app that may not read old orders."""
    sees_all = ALL_ORDERS in session.get_one(Shop, shop_id).access_scopes
    found = session.execute(
        text(
            "SELECT order_id FROM raw_shopify.orders WHERE shop_id = :shop_id"
            " AND order_id = ANY(CAST(:ids AS bigint[])) AND (:sees_all OR created_at > :since)"
            " ORDER BY order_id"
        ),
        {"shop_id": shop_id, "ids": list(ids), "sees_all": sees_all, "since": at - SHOWN_FOR},
    )
    return list(found.scalars())
