"""Bulk files in staging tables, and from there into the tables, type by type."""

from decimal import Decimal

import pytest
from sqlalchemy import text

from core.database import SessionFactory, session_scope
from core.ingestion.staging import drop_leftovers
from core.models import CustomerMerge, DeletedObject, Shop
from core.models.enums import BulkPurpose, ObjectType
from tests.core.ingestion.conftest import Rows
from tests.fixtures.loads import AT, Loaded, load, stage_lines
from tests.fixtures.shopify import (
    checkout_child,
    checkout_node,
    child,
    customer_node,
    money,
    order_node,
    product_node,
    refund_node,
)

STAGING_TABLES = """
    SELECT relname, relpersistence FROM pg_class
    WHERE relnamespace = 'raw_shopify_staging'::regnamespace AND relkind = 'r' ORDER BY 1"""
LATER, LATEST = "2026-11-19T11:00:00Z", "2026-11-19T12:00:00Z"


@pytest.fixture(autouse=True)
def _no_leftovers(session_factory: SessionFactory) -> None:
    """Tests that only stage leave their tables to this."""
    with session_scope(session_factory) as session:
        for shop_id in (1, 11):
            drop_leftovers(session, shop_id)


both = pytest.mark.parametrize("processes", [1, 2])


@both
@pytest.mark.requirement("SHOP-02")
def test_an_order_comes_with_its_lines_refunds_and_statistics(
    session_factory: SessionFactory, shop: Shop, rows: Rows, processes: int
) -> None:
    lines = [
        child(11, 111, title='Grüner Tee 🍵 & \\ / "x"\n'),
        order_node(11, 1, total="10.5", refunds=[refund_node(1, "2.5"), refund_node(2, "1.0")]),
        order_node(12, 1, total="4.5", discountCodes=["TEA10", "a b"]),
        child(12, 121, variantTitle="Large"),
    ]
    loaded = load(session_factory, shop.shop_id, lines, processes=processes)
    assert (loaded.counts.orders, loaded.counts.order_lines) == (2, 2)
    assert loaded.rejected == []
    assert rows("SELECT line_id, order_id, title FROM raw_shopify.order_lines ORDER BY 1") == [
        (111, 11, 'Grüner Tee 🍵 & \\ / "x"\n'),
        (121, 12, "Tea & Tools"),
    ]
    assert rows("SELECT refund_id, order_id, amount FROM raw_shopify.refunds ORDER BY 1") == [
        (1, 11, Decimal("2.5000")),
        (2, 11, Decimal("1.0000")),
    ]
    assert rows("SELECT discount_codes FROM raw_shopify.orders ORDER BY order_id") == [
        ([],),
        (["TEA10", "a b"],),
    ]
    statistics = "SELECT order_count, total_spent FROM raw_shopify.customer_statistics"
    assert rows(statistics) == [(2, Decimal("15.0000"))]
    assert rows(STAGING_TABLES) == []


@pytest.mark.requirement("SHOP-02")
def test_a_customer_comes_with_what_shopify_counts(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    spent = {"amount": "99.5", "currencyCode": "EUR"}
    lines = [
        customer_node(1, numberOfOrders="7", amountSpent=spent, tags=["vip", "two words"]),
        customer_node(2, consent=None, tags=['q"', "NULL", "{x}"]),
    ]
    load(session_factory, shop.shop_id, lines, ObjectType.CUSTOMER)
    assert rows(
        "SELECT customer_id, consent_state, reported_order_count, reported_total_spent, tags"
        " FROM raw_shopify.customers ORDER BY 1"
    ) == [
        (1, "SUBSCRIBED", 7, Decimal("99.5000"), ["vip", "two words"]),
        (2, "NOT_SUBSCRIBED", 0, Decimal("0.0000"), ['q"', "NULL", "{x}"]),
    ]


@pytest.mark.requirement("SHOP-02")
def test_a_product_comes_with_its_picture(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    picture = {"preview": {"image": {"url": "https://cdn.example/tea.png?v=1&w=2"}}}
    lines = [
        product_node(1, featuredMedia=picture),
        product_node(2, onlineStoreUrl=None, featuredMedia={"preview": {"image": None}}),
        product_node(3, featuredMedia={"preview": None}),
    ]
    assert load(session_factory, shop.shop_id, lines, ObjectType.PRODUCT).counts.products == 3
    assert rows("SELECT image_url, store_url FROM raw_shopify.products ORDER BY product_id") == [
        *(
            ("https://cdn.example/tea.png?v=1&w=2", lines[0]["onlineStoreUrl"]),
            (None, None),
            (None, lines[2]["onlineStoreUrl"]),
        )
    ]


@pytest.mark.requirement("SHOP-02")
def test_a_checkout_holds_its_lines(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    lines = [
        checkout_child(5, 51, quantity=2),
        checkout_node(5, 1),
        checkout_child(5, 52, product=None),
        checkout_child(5, 51, quantity=2),
        checkout_node(6, None, abandonedCheckoutUrl="https://tea.example/cart"),
        checkout_child(7, 71),
    ]
    loaded = load(session_factory, shop.shop_id, lines, ObjectType.CHECKOUT)
    assert loaded.counts.checkouts == 2
    assert loaded.applied.orphans == 1
    assert rows(
        "SELECT checkout_key, checkout_id, customer_id, email, total, subtotal,"
        " jsonb_array_length(line_items) FROM raw_shopify.checkouts ORDER BY checkout_id"
    ) == [
        ("token5", 5, 1, "c1@example.com", Decimal("20.0000"), Decimal("18.0000"), 2),
        ("AbandonedCheckout/6", 6, None, None, Decimal("20.0000"), Decimal("18.0000"), 0),
    ]
    [(items,)] = rows("SELECT line_items FROM raw_shopify.checkouts WHERE checkout_id = 5")
    assert items == [
        {
            "title": "Tea & Tools",
            "variant_title": None,
            "sku": "T-1",
            "product_id": product,
            "quantity": quantity,
            "unit_price": "10.0",
        }
        for product, quantity in ((77, 2), (None, 1))
    ]
    assert rows("SELECT object_type, line_number, error FROM raw_shopify.rejected_lines") == [
        ("AbandonedCheckout", 6, "its checkout is not in the file")
    ]


def test_neither_way_of_hearing_of_a_checkout_wipes_what_the_other_alone_knows(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "INSERT INTO raw_shopify.checkouts (shop_id, checkout_key, token, email, phone,"
                " created_at, updated_at, currency, total)"
                " VALUES (:shop_id, 'token5', 'other', 'a@example.com', '+49', :at, :at, 'EUR', 1),"
                " (:shop_id, 'token6', 'next', 'b@example.com', '+50', :at, :later, 'EUR', 1)"
            ),
            {"shop_id": shop.shop_id, "at": "2026-11-19T09:00:00Z", "later": LATEST},
        )
    lines = [checkout_node(5, None), checkout_node(6, None), checkout_child(5, 51)]
    load(session_factory, shop.shop_id, lines, ObjectType.CHECKOUT)
    assert rows(
        "SELECT checkout_key, checkout_id, token, email, phone, total, name"
        " FROM raw_shopify.checkouts ORDER BY 1"
    ) == [
        ("token5", 5, "other", "a@example.com", "+49", Decimal("20.0000"), "#C5"),
        ("token6", 6, "next", "b@example.com", "+50", Decimal("1.0000"), "#C6"),
    ]


@pytest.mark.requirement("SHOP-02")
def test_what_has_not_changed_is_not_written_again(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    """By the place of each row's version on its page: an update would have moved it."""
    everything = """
        SELECT 'c', ctid::text, xmax::text FROM raw_shopify.customers
        UNION ALL SELECT 'o', ctid::text, xmax::text FROM raw_shopify.orders
        UNION ALL SELECT 'l', ctid::text, xmax::text FROM raw_shopify.order_lines
        UNION ALL SELECT 'r', ctid::text, xmax::text FROM raw_shopify.refunds
        UNION ALL SELECT 'k', ctid::text, xmax::text FROM raw_shopify.checkouts
        UNION ALL SELECT 'p', ctid::text, xmax::text FROM raw_shopify.products
        UNION ALL SELECT 's', ctid::text, '' FROM raw_shopify.customer_statistics
        ORDER BY 1, 2"""

    def load_all() -> None:
        shop_id = shop.shop_id
        load(session_factory, shop_id, [customer_node(1)], ObjectType.CUSTOMER)
        order = [order_node(11, 1, refunds=[refund_node(1)]), child(11, 111)]
        load(session_factory, shop_id, order)
        checkout = [checkout_node(5, 1), checkout_child(5, 52), checkout_child(5, 51)]
        load(session_factory, shop_id, checkout, ObjectType.CHECKOUT)
        load(session_factory, shop_id, [product_node(7)], ObjectType.PRODUCT)

    load_all()
    before = rows(everything)
    # xmax is also set where ON CONFLICT locks a row it then leaves alone; its place tells.
    load_all()
    assert [row[:2] for row in rows(everything)] == [row[:2] for row in before]
    assert len(before) == 7


def test_older_states_change_nothing_of_any_type(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    names = """
        SELECT first_name FROM raw_shopify.customers
        UNION ALL SELECT name FROM raw_shopify.orders
        UNION ALL SELECT name FROM raw_shopify.checkouts
        UNION ALL SELECT title FROM raw_shopify.products"""

    def load_all(at: str, name: str) -> None:
        for object_type, node in (
            (ObjectType.CUSTOMER, customer_node(1, updatedAt=at, firstName=name)),
            (ObjectType.ORDER, order_node(1, updatedAt=at, name=name)),
            (ObjectType.CHECKOUT, checkout_node(1, updatedAt=at, name=name)),
            (ObjectType.PRODUCT, product_node(1, updatedAt=at, title=name)),
        ):
            load(session_factory, shop.shop_id, [node], object_type)

    load_all(LATER, "first")
    load_all("2026-11-19T10:59:59Z", "older")
    assert rows(names) == [("first",)] * 4
    load_all(LATEST, "newer")
    assert rows(names) == [("newer",)] * 4


def test_of_one_object_at_one_time_the_later_line_counts(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    nodes = [customer_node(1, firstName="One"), customer_node(1, firstName="Two")]
    load(session_factory, shop.shop_id, nodes, ObjectType.CUSTOMER)
    load(session_factory, shop.shop_id, [order_node(1, name="One"), order_node(1, name="Two")])
    assert rows("SELECT first_name FROM raw_shopify.customers") == [("Two",)]
    assert rows("SELECT name FROM raw_shopify.orders") == [("Two",)]


@pytest.mark.requirement("CRM-04")
def test_a_deleted_order_does_not_come_back_with_a_file_made_before(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        session.add(
            DeletedObject(
                shop_id=shop.shop_id, object_type=ObjectType.ORDER, object_id=11, deleted_at=AT
            )
        )
    lines = [order_node(11, 1, refunds=[refund_node(1)]), child(11, 111), order_node(12, 1)]
    loaded = load(session_factory, shop.shop_id, lines)
    assert rows("SELECT order_id FROM raw_shopify.orders") == [(12,)]
    assert rows("SELECT 1 FROM raw_shopify.order_lines") == []
    assert rows("SELECT 1 FROM raw_shopify.refunds") == []
    assert loaded.applied.orphans == 0


@pytest.mark.requirement("CRM-04")
def test_who_was_deleted_or_merged_away_stays_so(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        for gone, kept in ((2, 3), (3, 4)):
            session.add(
                CustomerMerge(
                    shop_id=shop.shop_id,
                    deleted_customer_id=gone,
                    kept_customer_id=kept,
                    merged_at=AT,
                )
            )
    load(session_factory, shop.shop_id, [customer_node(1)], ObjectType.CUSTOMER)
    with session_scope(session_factory) as session:
        session.execute(text("UPDATE raw_shopify.customers SET deleted_at = :at"), {"at": AT})
    nodes = [customer_node(number, updatedAt=LATEST) for number in (1, 2, 4)]
    load(session_factory, shop.shop_id, nodes, ObjectType.CUSTOMER)
    assert rows(
        "SELECT customer_id, deleted_at IS NOT NULL, merged_into FROM raw_shopify.customers"
        " ORDER BY 1"
    ) == [(1, True, None), (2, True, 3), (4, False, None)]


@pytest.mark.requirement("CRM-04")
def test_orders_and_checkouts_of_a_merged_customer_go_to_the_last_survivor(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    with session_scope(session_factory) as session:
        for gone, kept in ((2, 3), (3, 4)):
            session.add(
                CustomerMerge(
                    shop_id=shop.shop_id,
                    deleted_customer_id=gone,
                    kept_customer_id=kept,
                    merged_at=AT,
                )
            )
    load(session_factory, shop.shop_id, [order_node(11, 2), order_node(12, 5)])
    load(session_factory, shop.shop_id, [checkout_node(5, 3)], ObjectType.CHECKOUT)
    assert rows("SELECT customer_id FROM raw_shopify.orders ORDER BY order_id") == [(4,), (5,)]
    assert rows("SELECT customer_id FROM raw_shopify.checkouts") == [(4,)]
    counts = "SELECT customer_id, order_count FROM raw_shopify.customer_statistics ORDER BY 1"
    assert rows(counts) == [(4, 1), (5, 1)]


def test_a_refund_that_an_unchanged_order_lacks_here_is_brought(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    """Shops synced before refunds were read have the orders as they are, and no refund."""
    lines = [order_node(11, 1, refunds=[refund_node(1)])]
    load(session_factory, shop.shop_id, lines)
    with session_scope(session_factory) as session:
        session.execute(text("DELETE FROM raw_shopify.refunds"))
    load(session_factory, shop.shop_id, lines)
    assert rows("SELECT refund_id FROM raw_shopify.refunds") == [(1,)]
    newer = order_node(11, 1, updatedAt=LATEST, totalRefundedSet=money("1.0"))
    load(session_factory, shop.shop_id, [newer])
    assert rows("SELECT refund_id FROM raw_shopify.refunds") == []


@both
def test_a_comparison_stages_ids_and_times(
    session_factory: SessionFactory, shop: Shop, rows: Rows, processes: int
) -> None:
    lines = [
        {"id": f"gid://shopify/Order/{number}", "updatedAt": at}
        for number, at in ((2**53 + 1, LATER), (2, LATEST), (3, LATEST))
    ]
    staged = stage_lines(
        session_factory,
        shop.shop_id,
        [*lines, '{"id":"gid://shopify/Customer/4","updatedAt":"2026-11-19T10:00:00Z"}'],
        purpose=BulkPurpose.COMPARE,
        loaded=(loaded := Loaded()),
        processes=processes,
    )
    assert len(loaded.rejected) == 1
    assert [number for (number,) in rows(f"SELECT object_id FROM {staged.ids_table}")] == [
        *(2**53 + 1, 2, 3)
    ]
    with session_scope(session_factory) as session:
        position = staged.last_position(session)
        assert position is not None
        assert (position[0].isoformat(), position[1]) == ("2026-11-19T12:00:00+00:00", 3)
        staged.drop(session)
        assert stage_lines(session_factory, shop.shop_id, []).last_position(session) is None


def test_staged_files_are_unlogged_tables_that_a_next_start_finds(
    session_factory: SessionFactory, shop: Shop, rows: Rows
) -> None:
    stage_lines(session_factory, shop.shop_id, [order_node(1)], name="gid://shopify/X/77")
    assert {row[1] for row in rows(STAGING_TABLES)} == {"u"}
    assert rows(STAGING_TABLES)[0][0] == "s1__gid_shopify_x_77__order_lines"
    stage_lines(session_factory, 11, [order_node(1)], name="a")
    with session_scope(session_factory) as session:
        assert drop_leftovers(session, shop.shop_id) == 3
        assert drop_leftovers(session, 11) == 3
    assert rows(STAGING_TABLES) == []


def test_the_same_name_begins_anew(session_factory: SessionFactory, shop: Shop, rows: Rows) -> None:
    """A process that died in the middle left half of the file in the tables."""
    stage_lines(session_factory, shop.shop_id, [order_node(1)], name="same")
    staged = stage_lines(session_factory, shop.shop_id, [order_node(2)], name="same")
    with session_scope(session_factory) as session:
        staged.apply(session, sync_run_id=1, at=AT)
    assert rows("SELECT order_id FROM raw_shopify.orders") == [(2,)]


def test_a_name_that_postgres_would_cut_is_refused(
    session_factory: SessionFactory, shop: Shop
) -> None:
    for name in ("x" * 60, "://"):
        with pytest.raises(ValueError, match="no name for staging tables"):
            stage_lines(session_factory, shop.shop_id, [], name=name)
