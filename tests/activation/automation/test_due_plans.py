"""Finding what is due costs the same however many enrolments are over.

The look-up behind the sensor asked whether a due enrolment EXISTS: with nothing due it read the
whole table, 60 ms of 240,000.
"""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from activation.automation.actions import SendEmail, Wait
from activation.automation.claiming import claim
from activation.automation.definition import AbandonedCheckout, ExitOn
from activation.eligibility.exits import read_exits
from activation.work import seconds_until_next, steps_due
from core.database import session_scope
from tests.activation.automation.flow import HOUR, Flow, definition
from tests.activation.eligibility.test_plans import Explained, nodes
from tests.activation.world import World

# One in fifty waits for a month; the others are over.
FILL = """
INSERT INTO crm.enrollments (
    shop_id, automation_id, version, customer_id, entry_key, moment_at, state, due_at, enrolled_at,
    finished_at
)
SELECT
    :shop_id, :automation_id, 1, n, 'old', :now, CASE WHEN n % 50 = 0 THEN 'active' ELSE done END,
    CASE WHEN n % 50 = 0 THEN :now + interval '30 days' END, :now,
    CASE WHEN n % 50 <> 0 THEN :now END
FROM
    generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
    CROSS JOIN LATERAL (
        SELECT (ARRAY['completed', 'exited', 'too_late'])[1 + n % 3] AS done
    ) AS state
"""


def costs(world: World, work: Callable[[Session], object]) -> tuple[int, set[str], set[str]]:
    """Pages touched, indexes used on enrolments, and how enrolments are read otherwise."""
    explained = Explained()
    with session_scope(world.factory) as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", explained)
        work(session)
        event.remove(connection, "before_cursor_execute", explained)
        session.rollback()
    found: list[dict[str, Any]] = [node for plan in explained.plans for node in nodes(plan)]
    pages = sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in explained.plans)
    scans = [node for node in found if node.get("Relation Name") == "enrollments"]
    used = {node["Index Name"] for node in scans if "Index Name" in node}
    others = {node["Node Type"] for node in scans if "Index Name" not in node}
    return pages, used, others - {"ModifyTable"}


@pytest.mark.requirement("PIPE-01")
def test_due_enrolments_are_found_by_their_index_alone(world: World) -> None:
    one = SendEmail(step_key="one", template="welcome")
    flow = Flow.add(world, definition(Wait(step_key="wait", seconds=60), one))
    world.add_customers(range(1, 21))
    for number in range(1, 21):
        flow.enter(number)
    world.execute(
        "UPDATE crm.automations SET evaluated_at = :now, evaluated_version = current_version",
        now=world.now,
    )

    def claiming(session: Session) -> None:
        assert len(claim(session, world.shop_id, now=world.now, limit=10)) == 10

    def looking(session: Session) -> None:
        assert not steps_due(session, now=world.now - HOUR)

    def looking_ahead(session: Session) -> None:
        found = seconds_until_next(session, now=world.now - HOUR, horizon=2 * HOUR)
        assert found == HOUR.total_seconds()

    works = (claiming, looking, looking_ahead)
    pages_of: dict[str, list[int]] = {work.__name__: [] for work in works}
    for first, last in ((1001, 6000), (6001, 40_000)):
        world.execute(
            FILL,
            shop_id=world.shop_id,
            automation_id=flow.automation_id,
            now=world.now,
            first=first,
            last=last,
        )
        world.execute("ANALYZE crm.enrollments")
        for work in works:
            pages, used, others = costs(world, work)
            assert used == {"ix_enrollments__due"}
            assert not others - {"LockRows"}
            pages_of[work.__name__].append(pages)
    for small, large in pages_of.values():
        assert large <= small + 10


ORDERS = """
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, email, created_at, updated_at, processed_at, is_test,
    checkout_token, currency, current_total, original_total, refunded_total
)
SELECT
    :shop_id, n, '#' || n, CASE WHEN n % 10 <> 0 THEN 100000 + n % 5000 END,
    'o' || n % 5000 || '@example.com', :now, :now, :now + interval '1 minute', false, 'token' || n,
    'EUR', 10, 10, 0
FROM generate_series(100001, 130000) AS n
"""
PEOPLE = """
INSERT INTO raw_shopify.customers (shop_id, customer_id, email, created_at, updated_at)
SELECT :shop_id, 100000 + n, 'o' || n || '@example.com', :now, :now
FROM generate_series(0, 4999) AS n
"""
CARTS = """
INSERT INTO raw_shopify.checkouts (
    shop_id, checkout_key, token, customer_id, email, created_at, updated_at, currency, total
)
SELECT :shop_id, 'c' || n, 't' || n, n, 'c' || n || '@example.com', :now, :now, 'EUR', 10
FROM generate_series(1, 100) AS n
"""


@pytest.mark.requirement("FLOW-02")
def test_the_order_that_ends_a_cart_is_found_by_indexes(world: World) -> None:
    """All orders of the day are newer than the carts: looked through, they would cost the most when
    a shop sells the most.
    """
    one = SendEmail(step_key="one", template="welcome")
    flow = Flow.add(world, definition(one, trigger=AbandonedCheckout(), exit_on=(ExitOn.ORDERED,)))
    world.add_customers(range(1, 101))
    given = {"shop_id": world.shop_id, "now": world.now}
    for fill in (ORDERS, PEOPLE, CARTS):
        world.execute(fill, **given)
    carts = {n: flow.enter(n, checkout_key=f"c{n}", entry_key=f"c{n}") for n in range(1, 101)}
    tables = ("crm.enrollments", "raw_shopify.orders", "raw_shopify.customers",
              "raw_shopify.checkouts")  # fmt: skip
    for table in tables:
        world.execute(f"ANALYZE {table}")
    explained = Explained()
    with session_scope(world.factory) as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", explained)
        left = read_exits(session, world.shop_id, carts, automation_ids=[flow.automation_id])
        event.remove(connection, "before_cursor_execute", explained)
    assert left == {}
    [plan] = explained.plans
    scans = [node for node in nodes(plan) if node.get("Relation Name") in {"orders", "customers"}]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Bitmap Heap Scan",
                                                     "Index Only Scan"}  # fmt: skip
    assert {"ix_orders__guest", "ix_orders__checkout_token", "ix_customers__email"} <= {
        node["Index Name"] for node in nodes(plan) if "Index Name" in node
    }
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100 * 40
