"""States of orders that arrive by webhook, by file and by id, in any order and more than once, end
in the rows of the latest one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.ingestion.refresh import refresh_due, request
from core.models import Shop
from core.models.enums import ObjectType
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.loads import load
from tests.fixtures.shopify import (
    FakeShopify,
    child,
    line_node,
    money,
    order_body,
    order_node,
    refund_node,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TABLES = (
    *("orders", "order_lines", "refunds", "customers", "customer_statistics", "deleted_objects"),
    *("webhook_inbox", "refresh_requests"),
)
ORDERS = """
    SELECT order_id, customer_id, email, updated_at, current_total, refunded_total
    FROM raw_shopify.orders"""
LINES = "SELECT order_id, line_id, quantity, product_id FROM raw_shopify.order_lines"
REFUNDS = "SELECT order_id, refund_id, amount FROM raw_shopify.refunds"
COUNTS = """
    SELECT customer_id, order_count, total_spent FROM raw_shopify.customer_statistics
    WHERE order_count > 0"""


@dataclass(frozen=True)
class State:
    """One state of an order, told in three ways. `place` is its time and makes its sums."""

    order: int
    place: int
    buyer: int | None
    lines: int
    refunds: tuple[int, ...]

    @property
    def at(self) -> datetime:
        return NOON + timedelta(minutes=self.place)

    @property
    def total(self) -> str:
        return f"{self.place + 50}.50"  # more than ever goes back

    def refund(self, number: int) -> tuple[int, str]:
        return self.order * 100 + number, f"{self.place + number}.25"

    def line_ids(self) -> list[int]:
        return [self.order * 10 + number for number in range(self.lines)]

    def body(self) -> dict[str, Any]:
        body = order_body(self.order, self.buyer, total=self.total, updated_at=self.at.isoformat())
        [line] = body["line_items"]
        body["line_items"] = [
            line | {"id": number, "admin_graphql_api_id": None, "quantity": self.place + 1}
            for number in self.line_ids()
        ]
        body["refunds"] = [
            {
                "id": number,
                "processed_at": NOON.isoformat(),
                "transactions": [
                    {"kind": "refund", "status": "success", "amount": amount, "currency": "EUR"}
                ],
            }
            for number, amount in map(self.refund, self.refunds)
        ]
        return body

    def node(self) -> dict[str, Any]:
        refunds = list(map(self.refund, self.refunds))
        refunded = sum((Decimal(amount) for _, amount in refunds), Decimal(0))
        return order_node(
            self.order,
            self.buyer,
            total=self.total,
            updatedAt=self.at.isoformat(),
            refunds=[refund_node(number, amount) for number, amount in refunds],
            totalRefundedSet=money(str(refunded)),
        )

    def file(self) -> list[Any]:
        lines = [child(self.order, number, **self._quantity()) for number in self.line_ids()]
        return [self.node(), *lines]

    def by_id(self) -> dict[str, Any]:
        lines = [line_node(number, **self._quantity()) for number in self.line_ids()]
        return self.node() | {"lineItems": lines}

    def _quantity(self) -> dict[str, int]:
        return {"quantity": self.place + 1, "currentQuantity": self.place + 1}


@dataclass(frozen=True)
class Delivery:
    """`way` "delete": the webhook of the order's end instead of a state of it."""

    way: str
    state: State


WAYS = st.sampled_from(["webhook", "webhook", "file", "id", "delete"])
# Each order has six states, of which any may never reach us by some way.
STATES = st.tuples(
    st.integers(1, 3),
    st.integers(0, 5),
    st.one_of(st.integers(1, 2), st.none()),
    st.integers(1, 3),
    st.sets(st.integers(0, 2)).map(lambda found: tuple(sorted(found))),
)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivery]:
    """One content for each order and time, however often and by whatever way it comes."""
    told: dict[tuple[int, int], State] = {}
    found = []
    for way, parts in draw(st.lists(st.tuples(WAYS, STATES), min_size=2, max_size=12)):
        state = told.setdefault(parts[:2], State(*parts))
        found.append(Delivery(way, state))
    again = draw(st.lists(st.sampled_from(found), max_size=4))
    return list(draw(st.permutations([*found, *again])))


@pytest.mark.requirement("SHOP-02", "SHOP-05", "SHOP-06", "RFM-04")
@hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=deliveries())
def test_by_whatever_way_states_arrive_the_latest_one_is_what_is_kept(
    *,
    history: list[Delivery],
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    shop: Shop,
    post: Post,
    rows: Rows,
) -> None:
    with session_scope(session_factory) as session:
        session.execute(text(f"TRUNCATE {', '.join(f'raw_shopify.{name}' for name in TABLES)}"))
    fake = FakeShopify()
    with fake.client() as client:
        for each in history:
            state = each.state
            if each.way == "webhook":
                assert post(state.body(), "orders/updated").status == 200
            elif each.way == "delete":
                assert post({"id": state.order}, "orders/delete").status == 200
            elif each.way == "file":
                load(session_factory, shop.shop_id, state.file())
            else:
                fake.nodes = {f"gid://shopify/Order/{state.order}": state.by_id()}
                with session_scope(session_factory) as session:
                    session.execute(text("DELETE FROM raw_shopify.refresh_requests"))
                    ids = [state.order]
                    request(session, shop.shop_id, ObjectType.ORDER, ids, "test", at=clock.now())
                report = refresh_due(
                    session_factory, lambda _: client, settings=settings, clock=clock
                )
                assert report.read == 1
    kept = expected(history)
    assert set(rows(ORDERS)) == {
        (
            state.order,
            state.buyer,
            f"c{state.buyer}@example.com" if state.buyer else None,
            state.at,
            Decimal(state.total),
            sum((Decimal(state.refund(number)[1]) for number in state.refunds), Decimal(0)),
        )
        for state in kept
    }
    assert set(rows(LINES)) == {
        (state.order, line, state.place + 1, 77) for state in kept for line in state.line_ids()
    }
    assert set(rows(REFUNDS)) == {
        (state.order, number, Decimal(amount))
        for state in kept
        for number, amount in map(state.refund, state.refunds)
    }
    assert set(rows(COUNTS)) == counted(kept)
    with session_scope(session_factory) as session:
        assert statistics.mismatches(session, shop.shop_id) == 0


def expected(history: list[Delivery]) -> list[State]:
    """The latest state of each order that was not deleted, in a pass in order of time."""
    dead = {each.state.order for each in history if each.way == "delete"}
    latest: dict[int, State] = {}
    for each in sorted(history, key=lambda each: each.state.place):
        if each.way != "delete" and each.state.order not in dead:
            latest[each.state.order] = each.state
    return list(latest.values())


def counted(kept: list[State]) -> set[tuple[int, int, Decimal]]:
    buyers = {state.buyer for state in kept if state.buyer}
    return {
        (
            buyer,
            sum(state.buyer == buyer for state in kept),
            sum((Decimal(state.total) for state in kept if state.buyer == buyer), Decimal(0)),
        )
        for buyer in buyers
    }
