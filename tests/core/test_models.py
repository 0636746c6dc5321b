from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from sqlalchemy import BigInteger, DateTime, Float, Numeric, Table
from sqlalchemy.orm import Session

from core.models import Base, Order
from core.settings import Settings
from tests.fixtures.shopify import add_shop

# People see several shops; a provider's event belongs to a shop only once it is matched; a
# provider's limit is shared by all shops that send under one key.
WITHOUT_SHOP = {
    *("crm.users", "crm.user_sessions", "crm.login_attempts", "crm.delivery_events"),
    "crm.send_teams",
}
TABLES = sorted(Base.metadata.tables.values(), key=lambda table: table.fullname)


@pytest.mark.requirement("FOUND-01")
def test_the_tables_of_the_loop_are_there() -> None:
    names = {table.fullname for table in TABLES}
    assert {
        *("raw_shopify.customers", "raw_shopify.orders", "raw_shopify.order_lines"),
        *("crm.automations", "crm.enrollments", "crm.messages", "crm.segment_memberships"),
    } <= names


@pytest.mark.requirement("FOUND-01")
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.fullname)
def test_every_key_begins_with_the_shop(table: Table) -> None:
    first = next(iter(table.primary_key.columns)).name
    assert (first == "shop_id") != (table.fullname in WITHOUT_SHOP)


@pytest.mark.requirement("FOUND-01", "SHOP-07")
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.fullname)
def test_money_is_numeric_times_have_a_zone_and_shopify_ids_fit(table: Table) -> None:
    for column in table.columns:
        assert not isinstance(column.type, Float), column
        if isinstance(column.type, Numeric):
            assert (column.type.precision, column.type.scale) == (20, 4), column
            assert column.type.asdecimal, column
        if isinstance(column.type, DateTime):
            assert column.type.timezone, column
        if column.name in {"customer_id", "order_id", "line_id", "product_id", "object_id"}:
            assert isinstance(column.type, BigInteger), column


@pytest.mark.requirement("FOUND-01")
def test_what_is_looked_up_is_indexed() -> None:
    indexed = {
        (table.name, tuple(column.name for column in index.columns))
        for table in TABLES
        for index in table.indexes
    }
    assert {
        ("orders", ("shop_id", "customer_id", "processed_at")),
        ("order_lines", ("shop_id", "order_id")),
        ("customers", ("shop_id", "email_normalized")),
        ("refresh_requests", ("next_attempt_at",)),
        ("webhook_inbox", ("next_attempt_at",)),
        ("customer_statistics", ("shop_id", "first_order_at")),
    } <= indexed


@pytest.mark.requirement("RFM-04")
def test_no_index_hears_of_what_every_order_changes() -> None:
    """With an index on `last_order_at` each order wrote its customer to every index there is."""
    [statistics] = [table for table in TABLES if table.name == "customer_statistics"]
    indexed = {column.name for index in statistics.indexes for column in index.columns}
    assert indexed.isdisjoint({"order_count", "total_spent", "last_order_at"})


STATUSES = [
    *(None, "PENDING", "AUTHORIZED", "PARTIALLY_PAID", "PAID", "PARTIALLY_REFUNDED"),
    *("REFUNDED", "VOIDED", "EXPIRED"),
]
AMOUNTS = [("10", "0"), ("10", "9.9999"), ("10", "10"), ("10", "11"), ("0", "0")]


def counts(status: str | None, *, test: bool, cancelled: bool, original: str, refund: str) -> bool:
    """The rule as DESIGN §4 words it."""
    if test or cancelled or status in {"VOIDED", "EXPIRED", "REFUNDED"}:
        return False
    is_refunded_in_full = Decimal(original) > 0 and Decimal(refund) >= Decimal(original)
    return not is_refunded_in_full


@pytest.mark.requirement("FOUND-01")
def test_which_orders_count_is_decided_by_the_database(
    session: Session, settings: Settings
) -> None:
    shop = add_shop(session, settings)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    cases = list(product(STATUSES, [False, True], [False, True], AMOUNTS))
    for number, (status, test, cancelled, (original, refund)) in enumerate(cases, start=1):
        session.add(
            Order(
                shop_id=shop.shop_id,
                order_id=number,
                name=f"#{number}",
                created_at=now,
                updated_at=now,
                processed_at=now,
                cancelled_at=now if cancelled else None,
                is_test=test,
                financial_status=status,
                currency="EUR",
                current_total=Decimal(original),
                original_total=Decimal(original),
                refunded_total=Decimal(refund),
            )
        )
    session.flush()
    session.expire_all()
    for number, (status, test, cancelled, (original, refund)) in enumerate(cases, start=1):
        order = session.get_one(Order, (shop.shop_id, number))
        expected = counts(status, test=test, cancelled=cancelled, original=original, refund=refund)
        assert order.is_counted is expected, cases[number - 1]
