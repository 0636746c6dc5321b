"""Requests for objects that a webhook named but did not carry whole, and how they are settled.

A request is claimed by a lease and read with no transaction open; it goes only once the answer is
stored, and stays when it was made anew meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.ingestion import customers, orders
from core.ingestion.backoff import REFRESH_SECONDS, after
from core.ingestion.read_by_id import Answer, Found, NotFound, read_by_id
from core.ingestion.statements import statement
from core.models import Shop
from core.models.enums import ObjectType
from core.shopify.client import ShopifyClient
from core.shops import business_clock

LEASE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class RefreshReport:
    """Requests of one call by what became of them."""

    claimed: int = 0
    read: int = 0
    postponed: int = 0
    given_up: int = 0

    def __add__(self, other: "RefreshReport") -> "RefreshReport":
        return RefreshReport(
            self.claimed + other.claimed,
            self.read + other.read,
            self.postponed + other.postponed,
            self.given_up + other.given_up,
        )


@dataclass(frozen=True)
class _Request:
    shop_id: int
    object_type: ObjectType
    object_id: int
    requested_at: datetime
    attempts: int


_Settled = tuple[_Request, Answer]


def request(
    session: Session,
    shop_id: int,
    object_type: ObjectType,
    ids: Sequence[int],
    reason: str,
    *,
    at: datetime,
) -> None:
    """Ask for objects to be read, once the caller's transaction commits."""
    if ids:
        session.execute(
            statement("request_refresh"),
            {
                "shop_id": shop_id,
                "object_type": object_type.value,
                "object_ids": list(ids),
                "reason": reason,
                "at": at,
            },
        )


def refresh_due(
    factory: SessionFactory,
    client_of: Callable[[int], ShopifyClient],
    *,
    clock: Clock,
    limit: int = 250,
) -> RefreshReport:
    """Read up to `limit` requested objects that are due. Several may run at once.

    What Shopify does not show is tried again for about an hour, then given up; while Shopify
    cannot be reached nothing is given up. A shop in trouble holds up no other.
    """
    report = RefreshReport()
    for (shop_id, kind), requests in _claim(factory, limit).items():
        numbers = [request.object_id for request in requests]
        answers = read_by_id(partial(client_of, shop_id), kind, numbers)
        pairs = list(zip(requests, answers, strict=True))
        with session_scope(factory) as session:
            report += _settle(session, shop_id, kind, pairs, clock=clock)
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


def _settle(
    session: Session, shop_id: int, kind: ObjectType, pairs: list[_Settled], *, clock: Clock
) -> RefreshReport:
    """Apply what was read and settle every request, in one transaction."""
    if kind is ObjectType.CUSTOMER:
        pairs = _without_stale(session, shop_id, pairs)
    found = [(request, answer) for request, answer in pairs if isinstance(answer, Found)]
    rows = [answer.row for _, answer in found]
    if kind is ObjectType.CUSTOMER:
        customers.apply_whole(session, shop_id, rows)
    else:
        at = business_clock(session.get_one(Shop, shop_id), clock).now()
        lines = [line for _, answer in found for line in answer.lines]
        orders.apply_few(session, shop_id, rows, lines, at=at)
    _finish(session, [request for request, _ in found])
    report = RefreshReport(claimed=len(pairs), read=len(found))
    for request_, answer in pairs:
        if isinstance(answer, NotFound):
            report += _postpone(session, request_, answer)
    return report


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
    seconds = after(request.attempts, REFRESH_SECONDS)
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
