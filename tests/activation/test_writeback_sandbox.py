"""Writing back through the real client to the sandbox, which executes Shopify's real schema."""

from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import insert, select, text

from activation.writeback import Occasion, after_undo, after_unsubscribe, request_tag
from activation.writer import WriteReport, write_due
from core.clock import SystemClock
from core.database import session_scope
from core.models import Customer, Suppression, WriteBack
from core.models.enums import ConsentState, SuppressionReason, SyncKind, WriteBackState
from core.shops import connect_shop
from core.subscriptions import check_subscriptions
from tests.core.ingestion.test_sandbox_flow import World, sandbox, world

__all__ = ["sandbox", "world"]

pytestmark = pytest.mark.processes
ANNA = 3
EMAIL = f"c{ANNA}@example.com"


def write(shop: World) -> WriteReport:
    return write_due(shop.factory, lambda _: shop.client, shop.shop.shop_id, clock=SystemClock())


def leave(shop: World, at: datetime) -> None:
    with session_scope(shop.factory) as session:
        session.execute(
            insert(Suppression).values(
                shop_id=shop.shop.shop_id,
                email_normalized=EMAIL,
                reason=SuppressionReason.UNSUBSCRIBED,
                suppressed_at=at,
            )
        )
        after_unsubscribe(session, Occasion(shop.shop.shop_id, f"leave/{at}", at), EMAIL)


def anna(shop: World) -> Customer:
    """As Shopify has her now: what a refresh brings."""
    shop.refresh()
    with session_scope(shop.factory) as session:
        return session.get_one(Customer, (shop.shop.shop_id, ANNA))


def states(shop: World) -> list[WriteBackState]:
    with session_scope(shop.factory) as session:
        return list(session.scalars(select(WriteBack.state).order_by(WriteBack.write_back_id)))


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_an_unsubscribe_and_its_undo_go_to_shopify_and_come_back(world: World) -> None:
    world.sync()
    left_at = SystemClock().now() - timedelta(minutes=1)
    leave(world, left_at)
    assert write(world) == WriteReport(written=2)
    held = anna(world)
    assert (held.consent_state, held.tags) == (ConsentState.UNSUBSCRIBED, ["unsubscribed"])
    assert held.consent_updated_at == left_at.replace(microsecond=0)

    with session_scope(world.factory) as session:
        session.execute(text("UPDATE crm.suppressions SET lifted_at = clock_timestamp()"))
        now = SystemClock().now()
        after_undo(session, Occasion(world.shop.shop_id, "undo", now), EMAIL)
    assert write(world) == WriteReport(written=2)
    held = anna(world)
    assert (held.consent_state, held.tags) == (ConsentState.SUBSCRIBED, [])


@pytest.mark.requirement("CRM-04")
def test_a_moment_ahead_of_shopifys_clock_is_dated_by_shopify(world: World) -> None:
    world.sync()
    leave(world, SystemClock().now() + timedelta(days=2))
    assert write(world) == WriteReport(written=2)
    held = anna(world)
    assert held.consent_state is ConsentState.UNSUBSCRIBED
    assert held.consent_updated_at is not None
    assert held.consent_updated_at < SystemClock().now() + timedelta(hours=1)


@pytest.mark.requirement("CRM-04")
def test_a_missing_scope_is_said_and_the_wish_ends_as_failed(world: World) -> None:
    world.sync()
    set_fault(world, "shopify_missing_scopes", "write_customers")
    try:
        with session_scope(world.factory) as session:
            now = SystemClock().now()
            request_tag(session, world.shop.shop_id, ANNA, "vip", occasion="1", at=now)
        assert write(world) == WriteReport(failed=1)
    finally:
        set_fault(world, "shopify_missing_scopes", "")
    with session_scope(world.factory) as session:
        [wish] = session.scalars(select(WriteBack)).all()
    assert "write_customers" in (wish.error or "")


def set_fault(shop: World, name: str, value: object) -> None:
    answer = httpx.post(f"{shop.base}/_sandbox/faults", json={name: value}, trust_env=False)
    assert answer.is_success, answer.text


@pytest.mark.requirement("CRM-04")
def test_a_customer_whom_shopify_does_not_know_needs_no_tag(world: World) -> None:
    world.sync()
    with session_scope(world.factory) as session:
        session.execute(
            text("UPDATE raw_shopify.customers SET customer_id = 999 WHERE customer_id = :anna"),
            {"anna": ANNA},
        )
        now = SystemClock().now()
        request_tag(session, world.shop.shop_id, 999, "vip", occasion="1", at=now)
    assert write(world) == WriteReport(superseded=1)
    assert states(world) == [WriteBackState.SUPERSEDED]


@pytest.mark.requirement("CRM-04")
@pytest.mark.parametrize("how", ["checked", "synced", "connected"])
def test_what_failed_for_a_scope_is_written_once_the_scope_has_come(world: World, how: str) -> None:
    """It stayed failed for ever, and Shopify went on calling them subscribed."""
    world.sync()
    set_fault(world, "shopify_missing_scopes", "write_customers")
    try:
        leave(world, SystemClock().now() - timedelta(minutes=1))
        assert write(world) == WriteReport(failed=2)
        look_at_scopes(world, how)
        assert write(world) == WriteReport(), "not before it has come"
    finally:
        set_fault(world, "shopify_missing_scopes", "")
    look_at_scopes(world, how)
    assert write(world) == WriteReport(written=2)
    held = anna(world)
    assert (held.consent_state, held.tags) == (ConsentState.UNSUBSCRIBED, ["unsubscribed"])
    look_at_scopes(world, how)
    assert write(world) == WriteReport(), "once is enough"


def look_at_scopes(world: World, how: str) -> None:
    shop_id = world.shop.shop_id
    if how == "checked":
        now = SystemClock().now()
        check_subscriptions(world.factory, world.client, shop_id=shop_id, address=None, now=now)
    elif how == "synced":
        world.sync(SyncKind.INCREMENTAL)
    else:
        with session_scope(world.factory) as session:
            connect_shop(
                session,
                world.client,
                settings=world.settings,
                is_sandbox=True,
                clock=SystemClock(),
            )
