"""What a bulk file may bring: each line ends as stored rows or as a rejection that is kept."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, text

from core.database import SessionFactory, make_session_factory, session_scope
from core.ingestion import bulk_file, statistics
from core.ingestion.screen import ErasureHasher, Screen
from core.models import Shop
from core.models.enums import ObjectType
from tests.core.ingestion.conftest import Rows
from tests.fixtures.loads import encoded, load, stage_lines
from tests.fixtures.shopify import (
    bulk_line,
    checkout_child,
    checkout_node,
    child,
    customer_node,
    money,
    order_node,
    product_node,
    refund_node,
)

NAMES = ("Zoë 🐝", "محمد", "שרה", "𠮷野家", "é", "A\u200fB", "\U0001f468\u200d\U0001f469")


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_stored_as_it_is(
    session_factory: SessionFactory, shop: Shop, rows: Rows, name: str
) -> None:
    nodes = [customer_node(1, firstName=name), customer_node(2, consent=None, firstName=name)]
    assert load(session_factory, shop.shop_id, nodes, ObjectType.CUSTOMER).rejected == []
    assert rows("SELECT DISTINCT first_name FROM raw_shopify.customers") == [(name,)]


@pytest.mark.requirement("SHOP-02", "SHOP-07")
def test_odd_but_possible_values_are_stored(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    largest = 2**63 - 1
    lines = [
        order_node(2**53 + 1, 2**53 + 3, total="-12.5"),
        child(2**53 + 1, largest, product=None, quantity=-1),
        order_node(2, None, total="999999999999.99"),
        order_node(3, 5, currency="XXQ", currentTotalPriceSet=money("1.0", "XXQ")),
        order_node(4, 5) | {"note": "n" * 5 * 2**20},
    ]
    loaded = load(session_factory, shop.shop_id, lines)
    assert loaded.rejected == []
    assert rows(
        "SELECT order_id, customer_id, current_total, currency FROM raw_shopify.orders ORDER BY 1"
    ) == [
        (2, None, Decimal("999999999999.9900"), "EUR"),
        (3, 5, Decimal("1.0000"), "XXQ"),
        (4, 5, Decimal("10.0000"), "EUR"),
        (2**53 + 1, 2**53 + 3, Decimal("-12.5000"), "EUR"),
    ]
    assert rows("SELECT line_id, quantity FROM raw_shopify.order_lines") == [(largest, -1)]
    assert rows(
        "SELECT order_count, total_spent, foreign_currency_order_count"
        " FROM raw_shopify.customer_statistics ORDER BY customer_id"
    ) == [(2, Decimal("10.0000"), 1), (1, Decimal("-12.5000"), 0)]


BROKEN_ORDERS: list[Any] = [
    order_node(1, createdAt="2026-02-31T00:00:00Z"),
    order_node(1, processedAt="0001-01-01T00:00:00Z"),
    order_node(1, updatedAt=None),
    order_node(1, updatedAt="2026-11-19T10:00:00"),
    order_node(1, total="12345678901234.0"),
    order_node(1, total="١٢"),
    order_node(1, total="NaN"),
    order_node(1) | {"id": "gid://shopify/Order/9223372036854775808"},
    order_node(1) | {"id": "gid://shopify/Order/0"},
    order_node(1) | {"id": "gid://shopify/Order/-1"},
    order_node(1) | {"id": "gid://shopify/Nothing/1"},
    order_node(1) | {"customer": {"id": "gid://shopify/Order/1"}},
    order_node(1, refunds=[refund_node(0)]),
    order_node(1, refunds=[refund_node(1, "much")]),
    child(11, 1, quantity=2**31),
    child(11, 1, quantity="1"),
    child(11, 1) | {"__parentId": "gid://shopify/Customer/11"},
    '{"id":"gid:\\/\\/shopify\\/Order\\/1"',
    '{"id":"gid:\\/\\/shopify\\/Order\\/1","name":"\\ud800"}',
    "",
    " ",
    "\x0b",
    bulk_line(order_node(1)).rstrip() + b" " + bulk_line(order_node(2)),
    "null",
    "[]",
    "{}",
    "[" * 10_000,
    b"\x00\n",
    b"\xff\xfe\n",
    bulk_line(order_node(1, name="x")).replace(b'"x"', b'"\xed\xa0\x80"'),
    bulk_line(order_node(1, name="x")).replace(b'"x"', b'"a\tb"'),
]


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("broken", BROKEN_ORDERS, ids=range(len(BROKEN_ORDERS)))
def test_a_broken_line_is_kept_with_its_number_and_fails_no_other(
    session_factory: SessionFactory, shop: Shop, rows: Rows, broken: Any
) -> None:
    lines = [order_node(11, 5), broken, child(11, 111)]
    loaded = load(session_factory, shop.shop_id, lines)
    [(number, line, reason)] = loaded.rejected
    assert number == 2
    assert line == encoded([broken]).removesuffix(b"\n")
    assert reason
    assert rows("SELECT order_id FROM raw_shopify.orders") == [(11,)]
    assert rows("SELECT line_id FROM raw_shopify.order_lines") == [(111,)]


@pytest.mark.requirement("SHOP-02")
def test_broken_lines_of_the_other_types_are_kept_too(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    too_long = {"emailAddress": "x" * 321, "marketingState": "SUBSCRIBED"}
    for object_type, good, broken in (
        (ObjectType.CUSTOMER, customer_node(1), customer_node(2, numberOfOrders="many")),
        (ObjectType.CUSTOMER, customer_node(1), customer_node(2, defaultEmailAddress=too_long)),
        (ObjectType.PRODUCT, product_node(1), product_node(2, title=None)),
        (ObjectType.CHECKOUT, checkout_node(1), checkout_node(2, totalPriceSet=money("x"))),
        (ObjectType.CHECKOUT, checkout_node(1), checkout_child(1, 2, id="gid://shopify/X/1")),
        (
            ObjectType.CHECKOUT,
            checkout_node(1),
            checkout_node(
                2, abandonedCheckoutUrl=f"https://x.example/checkouts/ac/{'k' * 3000}/recover"
            ),
        ),
    ):
        loaded = load(session_factory, shop.shop_id, [broken, good], object_type)
        assert [number for number, _, _ in loaded.rejected] == [1]
    for table in ("customers", "products", "checkouts"):
        assert rows(f"SELECT count(*) FROM raw_shopify.{table}") == [(1,)]


def test_a_line_that_is_too_long_is_kept_in_part(
    session_factory: SessionFactory, shop: Shop, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made unreadable where it is cut. Keys that are not ours were not looked into, so what
    was left of the line could still pass for an order, with keys missing."""
    monkeypatch.setattr(bulk_file, "LONGEST_LINE", 2**20)
    lines = [order_node(1), order_node(2) | {"note": "n" * 3 * 2**20}, order_node(3)]
    loaded = load(session_factory, shop.shop_id, lines)
    [(number, line, _)] = loaded.rejected
    assert number == 2
    assert line.startswith(b'{"id":"gid:\\/\\/shopify\\/Order\\/2"')
    assert rows("SELECT order_id FROM raw_shopify.orders ORDER BY 1") == [(1,), (3,)]


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_cut_within_a_line_loses_that_line_only(
    session_factory: SessionFactory, shop: Shop, rows: Rows, processes: int
) -> None:
    whole = encoded([order_node(number) for number in (1, 2, 3)])
    loaded = load(session_factory, shop.shop_id, [whole[:-100]], processes=processes)
    assert [number for number, _, _ in loaded.rejected] == [3]
    assert rows("SELECT order_id FROM raw_shopify.orders ORDER BY 1") == [(1,), (2,)]


def test_children_whose_parent_is_nowhere_are_counted_and_kept(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    lines = [child(99, 991, sku="S"), order_node(11), child(11, 111), child(98, 981)]
    loaded = load(session_factory, shop.shop_id, lines)
    assert (loaded.applied.orphans, loaded.counts.order_lines) == (2, 3)
    kept = rows(
        "SELECT line_number, error, convert_from(content, 'UTF8')::json ->> 'line_id'"
        " FROM raw_shopify.rejected_lines ORDER BY 1"
    )
    words = "its order is not in the file"
    assert kept == [(1, words, "991"), (4, words, "981")]
    assert rows("SELECT line_id FROM raw_shopify.order_lines") == [(111,)]


# ---------------------------------------------------------------- who was erased stays away


def screen_for(shop: Shop, *, customer: int, email: str) -> Screen:
    hasher = ErasureHasher(SecretStr("k" * 40), shop.shop_id)
    return Screen(hasher, frozenset({hasher.customer(customer), hasher.email(email)}))


@pytest.mark.requirement("SHOP-06")
@pytest.mark.parametrize("processes", [1, 2])
def test_an_erased_person_is_not_stored_again_and_their_orders_are_nobodys(
    session_factory: SessionFactory, shop: Shop, rows: Rows, processes: int
) -> None:
    screen = screen_for(shop, customer=5, email="gone@example.com")

    def load_all(object_type: ObjectType, *lines: Any) -> None:
        loaded = load(
            session_factory, shop.shop_id, lines, object_type, screen=screen, processes=processes
        )
        assert loaded.rejected == []

    other = {"emailAddress": "Gone@Example.com ", "marketingState": "SUBSCRIBED"}
    load_all(
        ObjectType.CUSTOMER,
        customer_node(5),
        customer_node(6),
        customer_node(7, defaultEmailAddress=other),
    )
    assert rows("SELECT customer_id FROM raw_shopify.customers") == [(6,)]
    load_all(
        ObjectType.ORDER,
        order_node(1, 5),
        order_node(2, 6),
        order_node(3, 6, email="gone@example.com"),
    )
    orders = "SELECT order_id, customer_id, email FROM raw_shopify.orders ORDER BY 1"
    assert rows(orders) == [(1, None, None), (2, 6, "c6@example.com"), (3, None, None)]
    load_all(ObjectType.CHECKOUT, checkout_node(1, 5), checkout_node(2, 6))
    checkouts = "SELECT checkout_id, customer_id, email FROM raw_shopify.checkouts ORDER BY 1"
    assert rows(checkouts) == [(1, None, None), (2, 6, "c6@example.com")]


# ---------------------------------------------------------------- any order, any repetition

TABLES = {
    "orders": "order_id, name, customer_id, current_total, updated_at",
    "order_lines": "line_id, order_id, title, quantity",
    "refunds": "refund_id, order_id, amount",
    "customer_statistics": "customer_id, order_count, total_spent",
}


def tables(factory: SessionFactory) -> dict[str, list[Any]]:
    with session_scope(factory) as session:
        return {
            name: [
                tuple(row)
                for row in session.execute(
                    text(f"SELECT {columns} FROM raw_shopify.{name} ORDER BY 1")
                )
            ]
            for name, columns in TABLES.items()
        }


def forget(factory: SessionFactory) -> None:
    names = ", ".join(f"raw_shopify.{name}" for name in (*TABLES, "refresh_requests"))
    with session_scope(factory) as session:
        session.execute(text(f"TRUNCATE {names}"))


def history(versions: Sequence[tuple[int, int | None, int]]) -> list[Any]:
    """Orders in several versions, each later one at a later time, with lines and refunds."""
    lines: list[Any] = []
    for at, (order, buyer, total) in enumerate(versions):
        moment = datetime(2026, 11, 1, 0, at, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        refunds = [refund_node(order * 10)] if order % 2 else []
        lines.append(
            order_node(order, buyer, total=f"{total}.0", updatedAt=moment, refunds=refunds)
        )
        lines += [child(order, order * 10 + part) for part in range(order % 3)]
    return lines


@pytest.mark.requirement("SHOP-02", "RFM-04")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    versions=st.lists(
        st.tuples(st.integers(1, 6), st.none() | st.integers(1, 3), st.integers(0, 50)),
        min_size=1,
        max_size=12,
    ),
    repeats=st.integers(1, 3),
    files=st.integers(1, 3),
    random_=st.randoms(use_true_random=False),
)
def test_any_order_and_repetition_of_lines_and_files_ends_in_the_same_tables(
    *,
    engine: Engine,
    shop: Shop,
    versions: list[tuple[int, int | None, int]],
    repeats: int,
    files: int,
    random_: random.Random,
) -> None:
    factory = make_session_factory(engine)
    forget(factory)
    lines = history(versions)
    load(factory, shop.shop_id, lines)
    expected = tables(factory)
    forget(factory)
    for _ in range(files):
        shuffled = lines * repeats
        random_.shuffle(shuffled)
        loaded = load(factory, shop.shop_id, shuffled)
        assert (loaded.rejected, loaded.applied.orphans) == ([], 0)
    assert tables(factory) == expected
    with session_scope(factory) as session:
        assert statistics.mismatches(session, shop.shop_id) == 0


def test_a_staged_file_that_is_given_up_leaves_no_table(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    staged = stage_lines(session_factory, shop.shop_id, [order_node(1)], name="given_up")
    with session_scope(session_factory) as session:
        staged.drop(session)
    assert rows("SELECT 1 FROM pg_class WHERE relname LIKE '%given_up%' AND relkind = 'r'") == []
