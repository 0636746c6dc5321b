"""Requests for objects that a webhook named but did not carry whole, and how they are settled.

A request is claimed by a lease and read with no transaction open; it goes only once the answer is
stored, and stays when it was made anew meanwhile. What Shopify does not show for about an hour,
and we hold, it has deleted (core/ingestion/gone.py).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, cast

from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.ingestion import customers, deletions, gone, merges, orders, products
from core.ingestion.backoff import PRODUCT_SECONDS, REFRESH_SECONDS, after
from core.ingestion.changes import Changes, OrderState
from core.ingestion.read_by_id import Answer, Found, NotFound, read_by_id
from core.ingestion.refresh_requests import request
from core.ingestion.rows import Row
from core.ingestion.screen import Screen
from core.ingestion.statements import statement
from core.models import Shop
from core.models.enums import ObjectType
from core.scopes import left_out
from core.settings import Settings
from core.shopify.client import ShopifyClient
from core.shops import business_clock

__all__ = ["RefreshReport", "refresh_due", "request"]

LEASE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class RefreshReport:
    """Requests of one call by what became of them; `gone`: Shopify has deleted the object."""

    claimed: int = 0
    read: int = 0
    postponed: int = 0
    given_up: int = 0
    gone: int = 0

    def __add__(self, other: "RefreshReport") -> "RefreshReport":
        return RefreshReport(
            self.claimed + other.claimed,
            self.read + other.read,
            self.postponed + other.postponed,
            self.given_up + other.given_up,
            self.gone + other.gone,
        )


@dataclass(frozen=True)
class _Request:
    shop_id: int
    object_type: ObjectType
    object_id: int
    requested_at: datetime
    attempts: int


_Settled = tuple[_Request, Answer]


def refresh_due(
    factory: SessionFactory,
    client_of: Callable[[int], ShopifyClient],
    *,
    settings: Settings,
    clock: Clock,
    limit: int = 250,
) -> RefreshReport:
    """Read up to `limit` requested objects that are due. Several may run at once.

    What Shopify does not show is tried again for about an hour, then given up, and deleted where we
    hold it; while Shopify cannot be reached nothing is given up. A shop in trouble holds up no
    other.
    """
    report = RefreshReport()
    for (shop_id, kind), requests in _claim(factory, limit).items():
        numbers = [request.object_id for request in requests]
        with session_scope(factory) as session:
            without = left_out(session.get_one(Shop, shop_id).access_scopes)
        answers = read_by_id(partial(client_of, shop_id), kind, numbers, without=without)
        pairs = list(zip(requests, answers, strict=True))
        gone_ids = _find_gone(factory, shop_id, kind, pairs, clock=clock)
        with session_scope(factory) as session:
            report += _settle(
                session, shop_id, kind, pairs, gone_ids=gone_ids, settings=settings, clock=clock
            )
    return report


def _claim(factory: SessionFactory, limit: int) -> dict[tuple[int, ObjectType], list[_Request]]:
    with session_scope(factory) as session:
        rows = session.execute(
            statement("claim_refreshes"), {"limit": limit, "lease_seconds": LEASE_SECONDS}
        ).all()
    claimed = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.shop_id, row.object_type, row.object_id)):
        kind = ObjectType(row.object_type)
        claimed[row.shop_id, kind].append(
            _Request(row.shop_id, kind, row.object_id, row.requested_at, row.attempts)
        )
    return claimed


def _find_gone(
    factory: SessionFactory,
    shop_id: int,
    kind: ObjectType,
    pairs: list[_Settled],
    *,
    clock: Clock,
) -> set[int]:
    hidden = [
        request for request, answer in pairs if isinstance(answer, NotFound) and answer.is_null
    ]
    return gone.find_gone(
        factory,
        shop_id,
        kind,
        hidden=[request.object_id for request in hidden],
        given_up=[
            request.object_id
            for request in hidden
            if after(request.attempts, REFRESH_SECONDS) is None
        ],
        clock=clock,
    )


def _settle(
    session: Session,
    shop_id: int,
    kind: ObjectType,
    pairs: list[_Settled],
    *,
    gone_ids: set[int],
    settings: Settings,
    clock: Clock,
) -> RefreshReport:
    """Apply what was read and settle every request, in one transaction."""
    if not deletions.join_writers(session, shop_id):
        waiting = NotFound("A sync is being applied just now.", is_about_it=False)
        pairs = [(request, waiting) for request, _ in pairs]
    elif kind is ObjectType.CUSTOMER:
        pairs = _without_stale(session, shop_id, pairs)
    found = [(request, answer) for request, answer in pairs if isinstance(answer, Found)]
    _apply(
        session,
        shop_id,
        kind,
        [answer for _, answer in found],
        settings=settings,
        clock=clock,
    )
    dead = [request for request, _ in pairs if request.object_id in gone_ids]
    _finish(session, [request for request, _ in found] + dead)
    report = RefreshReport(claimed=len(pairs), read=len(found), gone=len(dead))
    for request_, answer in pairs:
        if isinstance(answer, NotFound) and request_.object_id not in gone_ids:
            report += _postpone(session, request_, answer)
    return report


def _apply(
    session: Session,
    shop_id: int,
    kind: ObjectType,
    found: list[Found],
    *,
    settings: Settings,
    clock: Clock,
) -> None:
    """Without people who were erased, and without what was deleted or merged meanwhile."""
    if not found:
        return
    if kind is ObjectType.PRODUCT:
        products.apply_whole(session, shop_id, [answer.row for answer in found])
    elif kind is ObjectType.CUSTOMER:
        _apply_customers(session, shop_id, [answer.row for answer in found], settings)
    else:
        at = business_clock(session.get_one(Shop, shop_id), clock).now()
        _apply_orders(session, shop_id, found, settings, at)


def _apply_customers(session: Session, shop_id: int, rows: list[Row], settings: Settings) -> None:
    screen = Screen.load_for(
        session,
        shop_id,
        settings.secret_key,
        customer_ids=[int(str(row[0])) for row in rows],
        emails=[row[1] for row in rows],
    )
    if screen is not None:
        rows = [
            row
            for row in rows
            if not (screen.is_erased_customer(int(str(row[0]))) or screen.is_erased_email(row[1]))
        ]
    customers.apply_whole(session, shop_id, rows)


def _apply_orders(
    session: Session, shop_id: int, found: list[Found], settings: Settings, at: datetime
) -> None:
    changes = Changes(orders=[_state(answer) for answer in found])
    ids = [order.order_id for order in changes.orders]
    changes.leave_out_orders(deletions.deleted_orders(session, shop_id, ids))
    changes.follow(merges.kept_of(session, shop_id, changes.customer_ids()))
    screen = Screen.load_for(
        session,
        shop_id,
        settings.secret_key,
        customer_ids=changes.customer_ids(),
        emails=changes.emails(),
    )
    if screen is not None:
        changes.forget(screen.is_erased_customer, screen.is_erased_email)
    # Rows of text, all of them: they came from _state.
    rows = cast("list[Row]", [order.row for order in changes.orders])
    lines = cast("list[Row]", [line for order in changes.orders for line in order.lines])
    refunds = cast("list[Row]", [each for order in changes.orders for each in order.refunds])
    orders.apply_few(session, shop_id, rows, lines, refunds=refunds, at=at)
    products.request_unknown(session, shop_id, (int(line[5]) for line in lines if line[5]), at=at)


def _state(answer: Found) -> OrderState:
    order_id, customer_id = answer.row[0], answer.row[2]
    return OrderState(
        order_id=int(str(order_id)),
        updated_at=answer.updated_at,
        customer_id=int(customer_id) if customer_id else None,
        row=answer.row,
        lines=answer.lines,
        refunds=answer.refunds,
    )


def _without_stale(session: Session, shop_id: int, pairs: list[_Settled]) -> list[_Settled]:
    """A customer read in an older state than a webhook told us: Shopify's reads lag, ask again.

    Applying would change nothing, and the consent would stay unknown for good.
    """
    held = customers.held_versions(session, shop_id, [request.object_id for request, _ in pairs])
    stale = NotFound("Shopify answered with an older state than we hold.")
    return [
        (request, stale)
        if isinstance(answer, Found)
        and request.object_id in held
        and answer.updated_at < held[request.object_id]
        else (request, answer)
        for request, answer in pairs
    ]


def _finish(session: Session, requests: list[_Request]) -> None:
    if requests:
        session.execute(
            statement("finish_refreshes"),
            {
                "shop_id": requests[0].shop_id,
                "object_type": requests[0].object_type.value,
                "object_ids": [request.object_id for request in requests],
                "requested_at": [request.requested_at for request in requests],
            },
        )


def _postpone(session: Session, request: _Request, answer: NotFound) -> RefreshReport:
    is_product = request.object_type is ObjectType.PRODUCT
    seconds = after(request.attempts, PRODUCT_SECONDS if is_product else REFRESH_SECONDS)
    if seconds is None and not answer.is_about_it:
        seconds = REFRESH_SECONDS[-1]
    session.execute(
        statement("postpone_refresh"),
        {
            "shop_id": request.shop_id,
            "object_type": request.object_type.value,
            "object_id": request.object_id,
            "requested_at": request.requested_at,
            "error": answer.words,
            "seconds": seconds,
        },
    )
    return RefreshReport(given_up=1) if seconds is None else RefreshReport(postponed=1)
