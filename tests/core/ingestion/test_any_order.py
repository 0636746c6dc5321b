"""Deliveries of all topics in any order, repeated, in groups over several connections, end in the
same rows as one ordered pass.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from core.clock import MovableClock
from core.database import SessionFactory, make_session_factory, session_scope
from core.ingestion import inbox, keys, statistics
from core.ingestion.apply import Incoming
from core.ingestion.calls import Group
from core.ingestion.groups import receive_group
from core.models import Shop
from core.models.enums import InboxState
from core.settings import Settings
from tests.core.ingestion.test_webhook_topics import checkout, consent, merge
from tests.fixtures.shopify import DOMAIN, customer_body, encode, order_body

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONNECTIONS = 4
HELD = {
    "orders": "order_id, customer_id, updated_at, current_total, cancelled_at",
    "order_lines": "line_id, order_id",
    "customers": "customer_id, email, first_name, consent_state, consent_updated_at, created_at,"
    " updated_at, deleted_at, merged_into",
    "customer_statistics": "customer_id, order_count, total_spent, first_order_at, last_order_at",
    "customer_merges": "deleted_customer_id, kept_customer_id",
    "deleted_objects": "object_type, object_id, deleted_at",
    "checkouts": "checkout_key, customer_id, updated_at, total, deleted_at",
}
Told = tuple[str, dict[str, Any]]


def _at(number: int) -> str:
    return (NOON + timedelta(minutes=number)).isoformat()


def _order(number: int, order: int, buyer: int | None) -> Told:
    customer = customer_body(buyer, updated_at=_at(number), first_name=f"N{number}")
    body = order_body(
        order,
        buyer,
        total=f"{number + 1}.00",
        updated_at=_at(number),
        customer=customer if buyer else None,
    )
    return "orders/updated", body


def _customer(number: int, buyer: int) -> Told:
    body = customer_body(buyer, updated_at=_at(number), first_name=f"N{number}")
    return "customers/update", body


def _consent(number: int, buyer: int, state: str) -> Told:
    return "customers_email_marketing_consent/update", consent(buyer, state, _at(number))


# Customers 1 to 4; merges go upwards only, as Shopify's do not come back either.
buyers = st.integers(1, 4)
happenings = st.one_of(
    st.tuples(st.just("order"), st.integers(1, 4), st.one_of(buyers, st.none())),
    st.tuples(st.just("order"), st.integers(1, 4), buyers),
    st.tuples(st.just("customer"), buyers),
    st.tuples(st.just("consent"), buyers, st.sampled_from(["subscribed", "unsubscribed"])),
    st.tuples(st.just("checkout"), st.integers(1, 2), buyers),
    st.tuples(st.just("order gone"), st.integers(1, 4)),
    st.tuples(st.just("customer gone"), buyers),
    st.tuples(st.just("checkout gone"), st.integers(1, 2)),
    st.tuples(st.just("merge"), st.integers(1, 3)),
)


def _told(  # noqa: PLR0911 - one for each kind
    number: int, happening: tuple[Any, ...]
) -> Told:
    kind, *given_ = happening
    if kind == "order":
        return _order(number, *given_)
    if kind == "customer":
        return _customer(number, *given_)
    if kind == "consent":
        return _consent(number, *given_)
    if kind == "checkout":
        token, buyer = given_
        body = checkout(f"t{token}", buyer, _at(number), total_price=f"{number + 1}.00")
        body["name"] = f"#{token}"
        body["customer"] = customer_body(buyer, updated_at=_at(number), first_name=f"N{number}")
        return "checkouts/update", body
    if kind == "merge":
        return "customers/merge", merge(given_[0], given_[0] + 1)
    if kind == "checkout gone":
        return "checkouts/delete", {"id": given_[0]}
    topic = "orders/delete" if kind == "order gone" else "customers/delete"
    return topic, {"id": given_[0]}


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        yield threads


@pytest.mark.requirement("SHOP-05", "SHOP-06", "RFM-04")
@hypothesis_settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    history=st.lists(happenings, min_size=4, max_size=20),
    repeats=st.integers(1, 2),
    random=st.randoms(use_true_random=False),
)
def test_any_order_and_repetition_of_all_topics_ends_as_one_ordered_pass(
    *,
    engine: Engine,
    settings: Settings,
    clock: MovableClock,
    shop: Shop,
    pool: ThreadPoolExecutor,
    history: list[tuple[Any, ...]],
    repeats: int,
    random: Any,
) -> None:
    factory = make_session_factory(engine)
    group = _group(factory, settings, clock)
    letters = [
        Incoming(group.shop, topic, f"w{number}", encode(body), NOON + timedelta(minutes=number))
        for number, (topic, body) in enumerate(
            _told(number, happening) for number, happening in enumerate(history)
        )
    ]
    _forget(factory)
    for letter in letters:
        receive_group(group, [letter])
    ordered = _rows(factory)
    _forget(factory)
    _deliver(group, letters * repeats, pool, random)
    with session_scope(factory) as session:
        states = session.execute(text("SELECT DISTINCT state FROM raw_shopify.webhook_inbox"))
        assert states.scalars().all() == ["applied"]
        assert statistics.mismatches(session, shop.shop_id) == 0
    assert _rows(factory) == ordered


def _deliver(group: Group, letters: list[Incoming], pool: ThreadPoolExecutor, random: Any) -> None:
    """In groups of up to five, over all connections at once; then what met a lock."""
    random.shuffle(letters)
    size = random.randint(1, 5)
    start = threading.Barrier(CONNECTIONS)

    def deliver(part: int) -> None:
        start.wait()
        mine = letters[part::CONNECTIONS]
        for first in range(0, len(mine), size):
            for answer in receive_group(group, mine[first : first + size]):
                assert answer.status == 200
                assert answer.state is not InboxState.FAILED

    list(pool.map(deliver, range(CONNECTIONS)))
    due = "UPDATE raw_shopify.webhook_inbox SET next_attempt_at = now() WHERE state = 'received'"
    with session_scope(group.factory) as session:
        session.execute(text(due))
    inbox.retry_due(group.factory, settings=group.settings, clock=group.clock)


def _group(factory: SessionFactory, settings: Settings, clock: MovableClock) -> Group:
    with session_scope(factory) as session:
        known = keys.load(session, DOMAIN, settings.secret_key)
    assert known is not None
    return Group(factory, known, settings, clock)


def _forget(factory: SessionFactory) -> None:
    names = ", ".join(f"raw_shopify.{name}" for name in HELD)
    with session_scope(factory) as session:
        session.execute(
            text(f"TRUNCATE {names}, raw_shopify.webhook_inbox, raw_shopify.refresh_requests")
        )


def _rows(factory: SessionFactory) -> dict[str, list[tuple[Any, ...]]]:
    with session_scope(factory) as session:
        return {
            table: sorted(
                (
                    tuple(row)
                    for row in session.execute(text(f"SELECT {columns} FROM raw_shopify.{table}"))
                ),
                key=str,
            )
            for table, columns in HELD.items()
        }
