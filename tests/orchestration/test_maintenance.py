"""Upkeep: subscriptions, statistics and retention, for all shops, whatever is wrong with one."""

from datetime import timedelta
from decimal import Decimal

import dagster as dg
import httpx
import msgspec
import pytest
from sqlalchemy import select, update

from core.database import SessionFactory, session_scope
from core.ingestion import orders, statistics
from core.ingestion.rows import order_row
from core.models import CustomerStatistics, InboxMessage, Shop
from core.models.enums import InboxState
from core.settings import Settings
from core.shopify.shapes import Order
from core.subscriptions import WEBHOOK_TOPICS
from orchestration.platform.defs.maintenance.assets import (
    retention,
    statistics_repair,
    webhook_subscriptions,
)
from orchestration.shared import runtime
from orchestration.shared.runtime import Runtime
from tests.fixtures.shopify import FakeShopify, add_shop, order_node

pytestmark = pytest.mark.usefixtures("process_environment")


def materialize(asset: dg.AssetsDefinition, *, expect: bool = True) -> dg.ExecuteInProcessResult:
    result = dg.materialize([asset], resources={"runtime": Runtime()}, raise_on_error=False)
    assert result.success == expect
    return result


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = result.get_asset_materialization_events()
    return {name: each.value for name, each in event.materialization.metadata.items()}


@pytest.fixture
def shops(session_factory: SessionFactory, settings: Settings) -> dict[str, int]:
    """Two shops that are there and one that removed the app."""
    with session_scope(session_factory) as session:
        gone = Runtime().clock.now()
        return {
            name: add_shop(
                session,
                settings,
                domain=f"{name}.myshopify.com",
                is_sandbox=True,
                uninstalled_at=gone if name == "gone" else None,
            ).shop_id
            for name in ("broken", "gone", "well")
        }


def test_the_trouble_of_one_shop_keeps_no_other_from_its_webhooks(
    session_factory: SessionFactory, shops: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, well = FakeShopify(), FakeShopify()
    broken.before.append(lambda _request: httpx.Response(402))
    fakes = {shops["broken"]: broken, shops["well"]: well}
    monkeypatch.setattr(runtime, "shopify_client", lambda shop_id: fakes[shop_id].client())
    result = materialize(webhook_subscriptions, expect=False)
    assert {each["topic"] for each in well.subscriptions} == set(WEBHOOK_TOPICS)
    [failure] = result.get_step_failure_events()
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert list(told.metadata) == ["broken.myshopify.com"]
    with session_scope(session_factory) as session:
        problems = {
            name: session.get_one(Shop, shop_id).webhooks_problem for name, shop_id in shops.items()
        }
    assert problems["broken"] is not None
    assert problems["well"] is problems["gone"] is None
    broken.before.clear()
    fresh = metadata(materialize(webhook_subscriptions))
    assert fresh == {"shops": 2, "created": len(WEBHOOK_TOPICS), "deleted": 0, "refused": 0}


@pytest.mark.requirement("RFM-04")
def test_wrong_statistics_are_repaired_in_the_night_and_the_check_says_so(
    session_factory: SessionFactory, shops: dict[str, int]
) -> None:
    well = shops["well"]
    with session_scope(session_factory) as session:
        row = order_row(msgspec.convert(order_node(11, 5), Order))
        orders.apply_few(session, well, [row], [], at=Runtime().clock.now())
    right = materialize(statistics_repair)
    assert [check.passed for check in right.get_asset_check_evaluations()] == [True]
    with session_scope(session_factory) as session:
        session.execute(update(CustomerStatistics).values(total_spent=Decimal(999)))
    wrong = materialize(statistics_repair)
    assert metadata(wrong) == {"shops": 3, "repaired": 1}
    assert [check.passed for check in wrong.get_asset_check_evaluations()] == [False]
    with session_scope(session_factory) as session:
        assert statistics.mismatches(session, well) == 0
        assert session.scalars(select(CustomerStatistics.total_spent)).all() == [Decimal(10)]


def test_what_has_expired_goes(session_factory: SessionFactory, shops: dict[str, int]) -> None:
    with session_scope(session_factory) as session:
        session.add(
            InboxMessage(
                shop_id=shops["gone"],
                webhook_id="old",
                topic="orders/create",
                body=b"{}",
                state=InboxState.APPLIED,
                received_at=Runtime().clock.now() - timedelta(days=31),
            )
        )
    assert metadata(materialize(retention))["applied webhooks"] == 1
    with session_scope(session_factory) as session:
        assert session.scalars(select(InboxMessage)).all() == []
