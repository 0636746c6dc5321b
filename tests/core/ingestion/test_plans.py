"""What a load reads does not depend on what the planner takes the tables for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.database import SessionFactory, session_scope
from core.ingestion import plans
from core.ingestion.absent import ask_for_absent
from core.ingestion.staging import Staged, drop_leftovers
from core.models import Shop
from core.models.enums import BulkPurpose, ObjectType
from tests.core.ingestion.conftest import Rows
from tests.fixtures.loads import AT, stage_lines
from tests.fixtures.shopify import (
    Json,
    checkout_child,
    checkout_node,
    child,
    customer_node,
    order_node,
    product_node,
    refund_node,
)

OBJECTS = 400
LATER = "2026-11-19T12:00:00Z"
FILLED = ("customers", "orders", "order_lines", "refunds", "checkouts", "products")
READ = """
    SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables
    WHERE schemaname LIKE 'raw_shopify%' OR schemaname LIKE 'pg_temp%'"""


@pytest.fixture(autouse=True)
def _no_leftovers(session_factory: SessionFactory, shop: Shop) -> Iterator[None]:
    yield
    with session_scope(session_factory) as session:
        drop_leftovers(session, shop.shop_id)


@pytest.fixture(params=["many", "few"])
def _staged_rows_are(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, once as so many that no loop may join them, once as few with an index."""
    monkeypatch.setattr(plans, "MANY", 0 if request.param == "many" else 10**6)


def nodes(object_type: ObjectType, **changes: Any) -> list[Json]:
    numbers = range(1, OBJECTS + 1)
    if object_type is ObjectType.CUSTOMER:
        return [customer_node(number, **changes) for number in numbers]
    if object_type is ObjectType.PRODUCT:
        return [product_node(number, **changes) for number in numbers]
    if object_type is ObjectType.CHECKOUT:
        return [checkout_node(number, number, **changes) for number in numbers] + [
            checkout_child(number, number) for number in numbers
        ]
    orders = [
        order_node(number, number, refunds=[refund_node(number)], **changes) for number in numbers
    ]
    return orders + [child(number, number * 2 + which) for number in numbers for which in (0, 1)]


@dataclass(frozen=True)
class Watched(Staged):
    """Notes how many rows the transaction has read without an index, before its tables go."""

    read: list[int] = field(default_factory=list)

    def drop(self, session: Session) -> None:
        self.read.append(session.execute(text(READ)).scalar_one())
        super().drop(session)


def rows_read(
    factory: SessionFactory, shop: Shop, object_type: ObjectType, lines: Sequence[Json]
) -> int:
    staged = stage_lines(factory, shop.shop_id, lines, object_type)
    watched = Watched(staged.shop_id, staged.object_type, staged.purpose, staged.tables)
    with session_scope(factory) as session:
        watched.apply(session, sync_run_id=1, at=AT)
    return watched.read[0]


def fill_unseen(factory: SessionFactory, engine: Engine, shop: Shop) -> None:
    """All objects, with an ANALYZE while they were not committed yet: as by autovacuum."""
    files = [
        stage_lines(factory, shop.shop_id, nodes(object_type), object_type)
        for object_type in ObjectType
    ]
    with session_scope(factory) as session:
        for staged in files:
            staged.apply(session, sync_run_id=1, at=AT)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            for table in (*FILLED, "customer_statistics"):
                other.execute(text(f"ANALYZE raw_shopify.{table}"))


@pytest.mark.requirement("SHOP-02")
@pytest.mark.usefixtures("_staged_rows_are")
@pytest.mark.parametrize("object_type", list(ObjectType))
def test_a_load_reads_each_row_a_few_times_though_the_tables_pass_for_empty(
    session_factory: SessionFactory,
    engine: Engine,
    shop: Shop,
    object_type: ObjectType,
) -> None:
    """A reload of 200,000 orders read its staged rows anew for each stored one, for minutes: an
    autovacuum had looked while the first load was not committed.
    """
    fill_unseen(session_factory, engine, shop)
    unchanged = nodes(object_type)
    newer = nodes(object_type, updatedAt=LATER)
    half_newer = [*newer[: OBJECTS // 2], *unchanged[OBJECTS // 2 :]]
    read = [
        rows_read(session_factory, shop, object_type, lines)
        for lines in (unchanged, half_newer, newer)
    ]
    # One loop over the staged rows alone would read OBJECTS²/2, 80,000.
    assert max(read) < 100 * OBJECTS


def test_the_tables_do_pass_for_empty(
    session_factory: SessionFactory, engine: Engine, shop: Shop, rows: Rows
) -> None:
    """The control of this file."""
    fill_unseen(session_factory, engine, shop)
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(OBJECTS,)]
    assert rows(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'raw_shopify'::regnamespace"
        " AND relname = ANY(:names) AND reltuples = 0 AND relpages > 0",
        names=[*FILLED, "customer_statistics"],
    ) == [(len(FILLED) + 1,)]


@pytest.mark.requirement("CRM-04")
@pytest.mark.usefixtures("_staged_rows_are")
@pytest.mark.parametrize("object_type", [ObjectType.CUSTOMER, ObjectType.ORDER])
def test_what_is_absent_is_found_in_one_pass(
    session_factory: SessionFactory, engine: Engine, shop: Shop, object_type: ObjectType
) -> None:
    fill_unseen(session_factory, engine, shop)
    kind = "Customer" if object_type is ObjectType.CUSTOMER else "Order"
    staged = stage_lines(
        session_factory,
        shop.shop_id,
        [
            {"id": f"gid://shopify/{kind}/{number}", "updatedAt": LATER}
            for number in range(2, OBJECTS + 1)
        ],
        object_type,
        purpose=BulkPurpose.COMPARE,
    )
    with session_scope(session_factory) as session:
        staged.bound_plans(session)
        found = ask_for_absent(
            session,
            shop.shop_id,
            object_type,
            named=staged.ids_table,
            named_id="object_id",
            began_at=AT,
            at=AT,
        )
        assert session.execute(text(READ)).scalar_one() < 20 * OBJECTS
    assert found
    assert list(found.ids) == [1]
