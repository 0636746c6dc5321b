"""Objects that a webhook named but did not carry whole, read from Shopify by id.

A request is claimed by a lease and read with no transaction open; it goes only once the answer is
stored, and stays when it was made anew meanwhile.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError
from core.ingestion import customers, orders
from core.ingestion.backoff import REFRESH_SECONDS, after
from core.ingestion.rows import CUSTOMER_COLUMNS, Row, customer_row, line_row, order_row
from core.ingestion.statements import statement
from core.models import Shop
from core.models.enums import ObjectType
from core.shopify import gid
from core.shopify.client import ShopifyClient
from core.shopify.documents import load
from core.shopify.errors import QueryTooDearError
from core.shopify.shapes import Customer, OrderLine, OrderWithLines
from core.shops import business_clock

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 300.0
# A customer costs 3 points, an order with room for 50 lines about 40; a query may cost 1000.
CALL_SIZE: Final = {ObjectType.CUSTOMER: 250, ObjectType.ORDER: 20}
_DOCUMENTS: Final = {ObjectType.CUSTOMER: "customers_by_id", ObjectType.ORDER: "orders_by_id"}
NOT_READABLE: Final = "Shopify does not show this object (yet)."


@dataclass(frozen=True)
class RefreshReport:
    """Requests by what became of them in one call."""

    claimed: int = 0
    read: int = 0
    postponed: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class _Request:
    shop_id: int
    object_type: ObjectType
    object_id: int
    requested_at: datetime
    attempts: int


class _UnreadableError(Exception):
    """One object cannot be used; the others of its call can."""


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

    What cannot be read now is tried again later, for about an hour; a shop that cannot be
    reached holds up no other.
    """
    report = RefreshReport()
    for (shop_id, object_type), requests in _claim(factory, limit).items():
        for part in _parts(requests, CALL_SIZE[object_type]):
            answers = _read(lambda: client_of(shop_id), part)  # noqa: B023 - called at once
            report = _add(report, _store(factory, part, answers, clock=clock))
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


def _parts(requests: list[_Request], size: int) -> list[list[_Request]]:
    return [requests[start : start + size] for start in range(0, len(requests), size)]


def _read(client_of: Callable[[], ShopifyClient], requests: list[_Request]) -> list[Any]:
    """One answer per request: a decoded object, or the words why there is none."""
    kind = requests[0].object_type
    ids = [gid.make(kind.value, request.object_id) for request in requests]
    try:
        client = client_of()
        nodes = client.execute(load(_DOCUMENTS[kind]), {"ids": ids})["nodes"]
    except QueryTooDearError:
        if len(requests) == 1:
            return ["Shopify finds the query for this object too dear."]
        middle = len(requests) // 2
        return _read(client_of, requests[:middle]) + _read(client_of, requests[middle:])
    except EcomCRMError as error:
        log.warning("Shop %d: %d refreshes wait. %s", requests[0].shop_id, len(requests), error)
        return [str(error)] * len(requests)
    return [_decoded(client, kind, node) for node in nodes]


def _decoded(client: ShopifyClient, kind: ObjectType, node: Any) -> Any:
    if node is None:
        return NOT_READABLE
    try:
        if kind is ObjectType.CUSTOMER:
            return customer_row(msgspec.convert(node, Customer))
        return _order_rows(client, msgspec.convert(node, OrderWithLines))
    except (ValueError, _UnreadableError) as error:
        return f"Shopify's answer cannot be used: {error}"
    except EcomCRMError as error:
        return str(error)


def _order_rows(client: ShopifyClient, order: OrderWithLines) -> tuple[Row, list[Row]]:
    """The order's row and those of all its lines, page after page."""
    number = gid.number(order.id, "Order")
    lines: list[OrderLine] = list(order.line_items.nodes)
    page = order.line_items.page_info
    while page.has_next_page:
        variables = {"ids": [order.id], "after": page.end_cursor}
        [node] = client.execute(load("orders_by_id"), variables)["nodes"]
        more = msgspec.convert(node, OrderWithLines) if node else None
        if more is None or more.updated_at != order.updated_at:
            raise _UnreadableError("the order changed while its lines were read")
        if more.line_items.page_info.end_cursor == page.end_cursor:
            raise _UnreadableError("the next page of its lines is the same page")
        lines += more.line_items.nodes
        page = more.line_items.page_info
    return order_row(order), [line_row(line, number) for line in lines]


def _store(
    factory: SessionFactory, requests: list[_Request], answers: list[Any], *, clock: Clock
) -> RefreshReport:
    """Apply what was read and settle every request, in one transaction."""
    report = RefreshReport(claimed=len(requests))
    shop_id, kind = requests[0].shop_id, requests[0].object_type
    with session_scope(factory) as session:
        pairs = list(zip(requests, answers, strict=True))
        if kind is ObjectType.CUSTOMER:
            pairs = _without_stale(session, shop_id, pairs)
        read = [(request, answer) for request, answer in pairs if not isinstance(answer, str)]
        if kind is ObjectType.CUSTOMER:
            customers.apply_whole(session, shop_id, [answer for _, answer in read])
        else:
            rows = [answer[0] for _, answer in read]
            lines = [line for _, answer in read for line in answer[1]]
            at = business_clock(session.get_one(Shop, shop_id), clock).now()
            orders.apply_few(session, shop_id, rows, lines, at=at)
        _finish(session, [request for request, _ in read])
        report = _add(report, RefreshReport(read=len(read)))
        for request_, answer in pairs:
            if isinstance(answer, str):
                report = _add(report, _postpone(session, request_, answer))
    return report


def _without_stale(
    session: Session, shop_id: int, pairs: list[tuple[_Request, Any]]
) -> list[tuple[_Request, Any]]:
    """A customer read in an older state than a webhook told us: Shopify's reads lag, ask again.

    Applying would change nothing, and the consent would stay unknown for good.
    """
    held = customers.held_versions(session, shop_id, [request.object_id for request, _ in pairs])
    moment = [name for name, _ in CUSTOMER_COLUMNS].index("updated_at")
    return [
        (request, "Shopify answered with an older state than we hold.")
        if not isinstance(answer, str)
        and request.object_id in held
        and datetime.fromisoformat(answer[moment]) < held[request.object_id]
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


def _postpone(session: Session, request: _Request, error: str) -> RefreshReport:
    seconds = after(request.attempts, REFRESH_SECONDS)
    session.execute(
        statement("postpone_refresh"),
        {
            "shop_id": request.shop_id,
            "object_type": request.object_type.value,
            "object_id": request.object_id,
            "requested_at": request.requested_at,
            "error": error,
            "seconds": seconds,
        },
    )
    return RefreshReport(given_up=1) if seconds is None else RefreshReport(postponed=1)


def _add(one: RefreshReport, other: RefreshReport) -> RefreshReport:
    return RefreshReport(
        claimed=one.claimed + other.claimed,
        read=one.read + other.read,
        postponed=one.postponed + other.postponed,
        given_up=one.given_up + other.given_up,
    )
