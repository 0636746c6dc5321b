"""Codes through the real client from the sandbox, which executes Shopify's real schema."""

import time

import pytest
from sqlalchemy import select

from activation.automation.definition import UniqueCode, write_definition
from activation.discounts.stage import NO_SCOPE, TopUpReport, top_up
from activation.discounts.wanted import FLOOR
from core.clock import SystemClock
from core.database import session_scope
from core.models import Automation, AutomationVersion, DiscountCode, DiscountPool
from core.models.enums import CodeState
from tests.activation.discounts.admin import definition_giving
from tests.activation.test_writeback_sandbox import set_fault
from tests.core.ingestion.test_sandbox_flow import World, sandbox, world

__all__ = ["sandbox", "world"]

pytestmark = pytest.mark.processes


def switch_on(shop: World) -> None:
    now = SystemClock().now()
    with session_scope(shop.factory) as session:
        automation = Automation(
            shop_id=shop.shop.shop_id, key="flow", name="Flow", is_active=True, created_at=now
        )
        session.add(automation)
        session.flush()
        session.add(
            AutomationVersion(
                shop_id=shop.shop.shop_id,
                automation_id=automation.automation_id,
                version=1,
                definition=write_definition(definition_giving(UniqueCode(percent=15))),
                created_at=now,
            )
        )


def look(shop: World) -> TopUpReport:
    return top_up(shop.factory, lambda _: shop.client, shop.shop.shop_id, clock=SystemClock())


def states(shop: World) -> dict[str, int]:
    with session_scope(shop.factory) as session:
        found = list(session.scalars(select(DiscountCode.state)))
    return {state.value: found.count(state) for state in set(found)}


@pytest.mark.requirement("CFG-03", "SHOP-02")
def test_a_stock_is_made_through_throttling_and_codes_that_are_taken(world: World) -> None:
    switch_on(world)
    set_fault(world, "shopify_throttle_times", 1)
    set_fault(world, "discount_taken_codes", 3)
    assert look(world) == TopUpReport(discounts=1, asked=FLOOR)
    until = time.monotonic() + 20
    while states(world) != {"free": FLOOR, "refused": 3}:
        assert time.monotonic() < until, states(world)
        with session_scope(world.factory) as session:
            session.connection().exec_driver_sql(
                "UPDATE crm.discount_creations SET next_attempt_at = clock_timestamp()"
            )
        look(world)
    with session_scope(world.factory) as session:
        statement = select(DiscountCode.code).where(DiscountCode.state == CodeState.FREE)
        code = session.scalars(statement).first()
    order = {"customer": None, "discount_codes": [code]}
    assert world.sandbox("/orders", order)["order"]


@pytest.mark.requirement("CFG-03")
def test_a_missing_scope_is_said_in_words(world: World) -> None:
    switch_on(world)
    set_fault(world, "shopify_missing_scopes", "write_discounts")
    try:
        assert look(world) == TopUpReport()
    finally:
        set_fault(world, "shopify_missing_scopes", "")
    with session_scope(world.factory) as session:
        assert list(session.scalars(select(DiscountPool.error))) == [NO_SCOPE]
        assert "write_discounts" in NO_SCOPE
