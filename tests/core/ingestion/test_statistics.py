"""Order statistics stay right whoever writes, in whatever order, at the same time."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.clock import SystemClock
from core.database import SessionFactory, make_session_factory, session_scope
from core.ingestion import orders, statistics
from core.ingestion.inbox import receive, retry_due
from core.ingestion.rows import Row, array_text, flag_text, moment_text, order_row
from core.models import Shop
from core.settings import Settings
from core.shopify import gid
from core.shopify.rest import read_order
from core.shopify.shapes import Money, MoneyBag, Order, Reference
from core.shopify.told import LineTold, OrderTold
from tests.core.ingestion.conftest import Rows
from tests.fixtures.shopify import encode, order_body, webhook_headers

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONNECTIONS = 4
STORED = """
    SELECT customer_id, order_count, total_spent, first_order_at, last_order_at
    FROM raw_shopify.customer_statistics ORDER BY customer_id"""


def row(
    number: int, buyer: int | None, *, total: str = "10", seconds: int = 0, **changes: object
) -> Row:
    """An order as a row; a later version has more `seconds`."""
    bag = MoneyBag(Money(total, str(changes.pop("currency", "EUR"))))
    order = Order(
        id=gid.make("Order", number),
        name=f"#{number}",
        created_at=NOON,
        updated_at=NOON + timedelta(seconds=seconds),
        processed_at=NOON + timedelta(hours=number),
        current_total_price_set=bag,
        total_price_set=MoneyBag(Money("100", "EUR")),
        total_refunded_set=MoneyBag(Money("0", "EUR")),
        test=False,
        customer=Reference(gid.make("Customer", buyer)) if buyer else None,
    )
    for name, value in changes.items():
        setattr(order, name, value)
    return order_row(order)


def write(factory: SessionFactory, shop: Shop, *rows: Row, at: datetime = NOON) -> None:
    with session_scope(factory) as session:
        orders.apply_few(session, shop.shop_id, rows, [], at=at)


def mismatches(factory: SessionFactory, shop: Shop) -> int:
    with session_scope(factory) as session:
        return statistics.mismatches(session, shop.shop_id)


@pytest.mark.requirement("RFM-04")
def test_only_counted_orders_in_the_shops_currency_are_summed(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    write(
        session_factory,
        shop,
        row(1, 5, total="10.10"),
        row(2, 5, total="0"),
        row(3, 5, total="99", currency="USD"),
        row(4, 5, test=True),
        row(5, 5, cancelled_at=NOON),
        row(6, 5, display_financial_status="VOIDED"),
        row(7, None),
    )
    assert rows(STORED) == [
        (5, 3, Decimal("10.1000"), NOON + timedelta(hours=1), NOON + timedelta(hours=3))
    ]
    counted = "SELECT foreign_currency_order_count FROM raw_shopify.customer_statistics"
    assert rows(counted) == [(1,)]
    assert mismatches(session_factory, shop) == 0


@pytest.mark.requirement("RFM-04")
def test_only_a_change_marks_a_customer_as_touched(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    touches = "SELECT customer_id, touched_at FROM raw_shopify.customer_touches ORDER BY 1, 2"
    write(session_factory, shop, row(1, 5))
    assert rows(touches) == [(5, NOON)]
    write(session_factory, shop, row(1, 5), at=NOON + timedelta(days=1))
    assert rows(touches) == [(5, NOON)]
    later = NOON + timedelta(days=2)
    write(session_factory, shop, row(1, 6, seconds=1), at=later)
    assert rows(touches) == [(5, NOON), (5, later), (6, later)]


@pytest.mark.requirement("RFM-04")
def test_every_kind_of_wrong_row_is_found_and_put_right(
    session_factory: SessionFactory, shop: Shop
) -> None:
    write(session_factory, shop, *(row(number, number) for number in range(1, 7)))
    assert mismatches(session_factory, shop) == 0
    for wrong in (
        "UPDATE raw_shopify.customer_statistics SET order_count = 2 WHERE customer_id = 1",
        "UPDATE raw_shopify.customer_statistics SET total_spent = 1 WHERE customer_id = 2",
        "UPDATE raw_shopify.customer_statistics SET last_order_at = NULL WHERE customer_id = 3",
        "DELETE FROM raw_shopify.customer_statistics WHERE customer_id = 4",
        "UPDATE raw_shopify.orders SET cancelled_at = now() WHERE order_id = 5",
        "INSERT INTO raw_shopify.customer_statistics VALUES (1, 9, 1)",
    ):
        with session_scope(session_factory) as session:
            session.execute(text(wrong))
    assert mismatches(session_factory, shop) == 6
    with session_scope(session_factory) as session:
        statistics.recompute_all(session, shop.shop_id, touched_at=NOON)
    assert mismatches(session_factory, shop) == 0


# ---------------------------------------------------------------- two at once, step by step


@contextmanager
def waiting_for_us(factory: SessionFactory, work: Callable[[], None]) -> Iterator[None]:
    """Runs `work` in a thread, goes on once it waits for a lock of ours, joins it at the end."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        _until(lambda: not thread.is_alive() or _waiting(factory) > 0)
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()
    assert failures == []


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _waiting(factory: SessionFactory) -> int:
    """How many transactions wait for a lock."""
    with session_scope(factory) as session:
        waiting = session.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        return int(waiting.scalar_one())


def two_orders_of_one_customer_at_once(factory: SessionFactory, shop: Shop) -> int:
    """Both transactions hold their order before either commits. Returns the wrong customers."""
    write(factory, shop, row(1, 5))
    with (
        factory() as first,
        waiting_for_us(factory, _after(first, factory, shop, row(2, 5), row(3, 5))),
    ):
        first.commit()
    return mismatches(factory, shop)


def _after(
    first: Session, factory: SessionFactory, shop: Shop, ours: Row, theirs: Row
) -> Callable[[], None]:
    """Applies `ours` in the open session; returns what the other transaction does."""
    orders.apply_few(first, shop.shop_id, [ours], [], at=NOON)
    return lambda: write(factory, shop, theirs)


@pytest.mark.requirement("RFM-04")
def test_two_orders_of_one_customer_at_once_are_both_counted(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    assert two_orders_of_one_customer_at_once(session_factory, shop) == 0
    assert rows("SELECT order_count FROM raw_shopify.customer_statistics") == [(3,)]


@pytest.mark.requirement("RFM-04")
def test_without_the_lock_one_of_them_would_be_lost(
    session_factory: SessionFactory, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: the same two transactions, the lock left out."""
    monkeypatch.setattr(statistics, "lock_touched", lambda *_: None)
    assert two_orders_of_one_customer_at_once(session_factory, shop) == 1


@pytest.mark.requirement("RFM-04")
def test_one_new_order_told_at_once_for_two_customers_ends_with_the_later(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    """Neither transaction sees the other's order at first, so neither knows whom it leaves."""
    write(session_factory, shop, row(1, 5), row(2, 6))
    later, earlier = row(9, 6, seconds=9), row(9, 5, seconds=1)
    with (
        session_factory() as first,
        waiting_for_us(session_factory, _after(first, session_factory, shop, earlier, later)),
    ):
        first.commit()
    assert mismatches(session_factory, shop) == 0
    counts = "SELECT customer_id, order_count FROM raw_shopify.customer_statistics ORDER BY 1"
    assert rows(counts) == [(5, 1), (6, 2)]


@pytest.mark.requirement("RFM-04")
def test_an_order_moved_while_we_wait_for_a_customer_leaves_nobody_behind(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    """We saw the order at customer 5 and wait for customer 3; meanwhile it must not go to 6."""
    write(session_factory, shop, row(9, 5), row(1, 3))
    ours, theirs = row(9, 3, seconds=2), row(9, 6, seconds=1)
    with (
        session_factory() as holder,
        waiting_for_us(session_factory, _while_held(holder, session_factory, shop, 3, ours)),
        ThreadPoolExecutor(1) as other,
    ):
        moved = other.submit(write, session_factory, shop, theirs)
        _until(lambda: moved.done() or _waiting(session_factory) > 1)
        holder.commit()
    assert mismatches(session_factory, shop) == 0
    counts = "SELECT customer_id, order_count FROM raw_shopify.customer_statistics ORDER BY 1"
    assert rows(counts) == [(3, 2), (5, 0), (6, 0)]


def _while_held(
    holder: Session, factory: SessionFactory, shop: Shop, customer_id: int, ours: Row
) -> Callable[[], None]:
    """Locks a customer's statistics in the open session; returns what runs into the lock."""
    statistics.lock(holder, shop.shop_id, [customer_id])
    return lambda: write(factory, shop, ours)


# ---------------------------------------------------------------- many at once


@dataclass(frozen=True)
class Version:
    """One state of an order, as a webhook tells it."""

    order: int
    number: int
    buyer: int | None
    total: int
    is_cancelled: bool

    def body(self) -> bytes:
        moment = (NOON + timedelta(minutes=self.number)).isoformat()
        return encode(
            order_body(
                self.order,
                self.buyer,
                total=f"{self.total}.00",
                updated_at=moment,
                processed_at=(NOON + timedelta(hours=self.order)).isoformat(),
                cancelled_at=moment if self.is_cancelled else None,
            )
        )


states = st.tuples(
    st.integers(1, 5),
    st.sampled_from([1, 2, 3, None]),
    st.integers(0, 50),
    st.booleans(),
)
histories = st.lists(states, min_size=4, max_size=24).map(
    lambda drawn: [Version(order, n, *rest) for n, (order, *rest) in enumerate(drawn)]
)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        yield threads


@pytest.mark.requirement("RFM-04", "SHOP-05", "SHOP-06")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories, repeats=st.integers(1, 3), random=st.randoms(use_true_random=False))
def test_webhooks_at_once_repeated_and_out_of_order_end_as_one_ordered_pass(
    *,
    engine: Engine,
    settings: Settings,
    shop: Shop,
    pool: ThreadPoolExecutor,
    history: list[Version],
    repeats: int,
    random: object,
) -> None:
    factory = make_session_factory(engine)
    _forget_orders(factory)
    deliveries = [(f"w{n}", version.body()) for n, version in enumerate(history)] * repeats
    random.shuffle(deliveries)  # type: ignore[attr-defined]
    start = threading.Barrier(CONNECTIONS)

    def deliver(part: int) -> None:
        """In turn as a webhook, and as the read of an order does it."""
        start.wait()
        for number, (webhook_id, body) in enumerate(deliveries[part::CONNECTIONS]):
            if number % 2:
                _apply(factory, shop, body)
            else:
                headers = webhook_headers(body, "orders/updated", webhook_id)
                answer = receive(
                    factory, headers=headers, body=body, settings=settings, clock=SystemClock()
                )
                assert answer.status == 200

    list(pool.map(deliver, range(CONNECTIONS)))
    assert mismatches(factory, shop) == 0
    assert _stored(factory) == _one_ordered_pass(history)
    with session_scope(factory) as session:
        states = session.execute(text("SELECT DISTINCT state FROM raw_shopify.webhook_inbox"))
        assert states.scalars().all() == ["applied"]


def _apply(factory: SessionFactory, shop: Shop, body: bytes) -> None:
    found = read_order(body)
    order, lines = _as_text(found.order), [_as_text(line) for line in found.lines]
    with session_scope(factory) as session:
        orders.apply_few(session, shop.shop_id, [order], lines, at=NOON)


def _as_text(told: OrderTold | LineTold) -> Row:
    """As a row that was read by id is spelled."""
    spelled: dict[type, Callable[[Any], str | None]] = {
        list: array_text,
        datetime: moment_text,
        bool: flag_text,
        type(None): lambda _: None,
    }
    return tuple(spelled.get(type(value), str)(value) for value in msgspec.structs.astuple(told))


def _forget_orders(factory: SessionFactory) -> None:
    names = "customers orders order_lines customer_statistics webhook_inbox refresh_requests"
    with session_scope(factory) as session:
        session.execute(text("TRUNCATE raw_shopify." + ", raw_shopify.".join(names.split())))


def _stored(factory: SessionFactory) -> dict[int, tuple[int, Decimal]]:
    with session_scope(factory) as session:
        found = session.execute(text(STORED)).all()
    return {row.customer_id: (row.order_count, row.total_spent) for row in found if row.order_count}


def _one_ordered_pass(history: list[Version]) -> dict[int, tuple[int, Decimal]]:
    """By hand: the last state of each order, then its customer's sums."""
    last = {version.order: replace(version) for version in history}
    sums: dict[int, tuple[int, Decimal]] = {}
    for version in last.values():
        if version.buyer is not None and not version.is_cancelled:
            count, total = sums.get(version.buyer, (0, Decimal(0)))
            sums[version.buyer] = (count + 1, total + version.total)
    return sums


@pytest.mark.requirement("RFM-04", "SHOP-05")
def test_a_sync_and_webhooks_of_the_same_customers_at_once_end_right(
    engine: Engine, settings: Settings, shop: Shop, pool: ThreadPoolExecutor
) -> None:
    """Bulk loads and webhooks take their locks in the same order: nobody deadlocks."""
    factory = make_session_factory(engine)
    bulk = [row(number, number % 7 + 1) for number in range(1, 400)]

    def load(_: int) -> None:
        with session_scope(factory) as session:
            orders.apply_few(session, shop.shop_id, bulk, [], at=NOON)

    def deliver(part: int) -> None:
        for number in range(part, 400, 3):
            body = Version(number, 60 + part, (number + part) % 7 + 1, 5, is_cancelled=False).body()
            answer = receive(
                factory,
                headers=webhook_headers(body, "orders/updated", f"w{number}"),
                body=body,
                settings=settings,
                clock=SystemClock(),
            )
            assert answer.status == 200

    jobs = [pool.submit(load, 0), *(pool.submit(deliver, part) for part in range(1, 4))]
    for job in jobs:
        job.result()
    with session_scope(factory) as session:
        errors = session.execute(text("SELECT DISTINCT error FROM raw_shopify.webhook_inbox"))
        assert not [error for error in errors.scalars() if error and "LockNot" not in error]
    due = "UPDATE raw_shopify.webhook_inbox SET next_attempt_at = now() WHERE state = 'failed'"
    with session_scope(factory) as session:
        session.execute(text(due))
    retry_due(factory, settings=settings, clock=SystemClock(), limit=500)
    assert mismatches(factory, shop) == 0
