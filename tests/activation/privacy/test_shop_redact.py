"""A whole shop is erased two days after its owner removed the app."""

from typing import Any

import pytest
from sqlalchemy import select, text

from activation.automation.presets import seed_presets
from activation.privacy.shop import KEPT, tables_of_shops
from activation.privacy.work import Privacy, work_due
from core.database import session_scope
from core.models import Base, Shop, Suppression
from core.models.enums import PrivacyKind, PrivacyState, SuppressionReason
from tests.activation.fake_provider import drop
from tests.activation.privacy.people import (
    OTHERS,
    STRINGS,
    ask,
    found_in_database,
    request_of,
    settle,
    traces,
)
from tests.activation.world import World

MERCHANT = ("Nordlicht Keramik", "hello@mail.example.com", "Lange Reihe")


def work(world: World) -> Any:
    return work_due(Privacy(world.factory, world.settings, world.clock))


def erase_shop(world: World) -> int:
    request_id = ask(world, PrivacyKind.SHOP_REDACT)
    work(world)
    settle(world)
    work(world)
    return request_id


@pytest.mark.requirement("SHOP-07")
def test_nothing_of_the_shop_or_its_customers_stays(world: World) -> None:
    traces(world)
    world.set_shop(uninstalled_at=world.now)
    request_id = erase_shop(world)

    request = request_of(world, request_id)
    assert (request.state, request.error) == (PrivacyState.COMPLETED, None)
    assert request.receipt is not None
    assert request.receipt["rows"]["raw_shopify.customers"] == 4
    others = tuple(f"c{other}@example.com" for other in OTHERS)
    assert found_in_database(world, (*STRINGS, *MERCHANT, *others)) == set()
    with session_scope(world.factory) as session:
        shop = session.get_one(Shop, world.shop_id)
        assert (shop.client_secret_encrypted, shop.client_id) == ("", "")
        filled = {
            name
            for name in tables_of_shops()
            if session.execute(text(f"SELECT EXISTS (SELECT FROM {name})")).scalar_one()
        }
        reasons = set(session.scalars(select(Suppression.reason)))
    assert filled <= {"crm.delivery_events"}  # of other programs, without a shop
    assert reasons == {SuppressionReason.ERASED}


@pytest.mark.requirement("SHOP-07")
def test_another_shop_keeps_everything(world: World) -> None:
    other = world.add_shop(name="Other")
    world.switch_welcome_on(shop_id=other)
    world.add_customers([5], shop_id=other)
    world.place_order(5, shop_id=other)
    traces(world)
    world.set_shop(uninstalled_at=world.now)
    before = found_in_database(world, ("c5@example.com",))
    erase_shop(world)
    assert found_in_database(world, ("c5@example.com",)) == before != set()


@pytest.mark.requirement("SHOP-07")
def test_its_customers_are_not_mailed_should_the_shop_come_back(world: World) -> None:
    traces(world)
    world.set_shop(uninstalled_at=world.now)
    erase_shop(world)
    hour = world.now
    world.set_shop(
        uninstalled_at=None,
        first_sync_started_at=hour,
        first_sync_completed_at=hour,
        baseline_at=hour,
        postal_address="x",
        sender_address="hello@mail.example.com",
    )
    with session_scope(world.factory) as session:
        seed_presets(session, world.shop_id, now=world.now)
    world.switch_welcome_on()
    sent = len(world.provider.accepted)
    world.buyers([OTHERS[0], 9])
    world.run_cleanly()
    assert world.provider.addresses()[sent:] == ["c9@example.com"]


@pytest.mark.requirement("SHOP-07")
def test_a_shop_that_has_the_app_again_is_not_erased(world: World) -> None:
    """Shopify's request comes two days after the removal; the owner may have come back since."""
    traces(world)
    request_id = erase_shop(world)
    request = request_of(world, request_id)
    assert request.state is PrivacyState.PENDING
    assert "installed" in (request.error or "")
    assert len(world.messages()) > 0


@pytest.mark.requirement("SHOP-07")
def test_a_mail_that_may_be_on_its_way_is_waited_for(world: World) -> None:
    world.buyers([1])
    world.provider.faults = [drop]
    world.run()
    world.set_shop(uninstalled_at=world.now)
    request_id = erase_shop(world)
    assert request_of(world, request_id).state is PrivacyState.PENDING
    world.execute(
        "UPDATE crm.message_batches SET first_unknown_at = clock_timestamp() - interval '24 hours'"
    )
    settle(world)
    work(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED


@pytest.mark.requirement("SHOP-07")
def test_every_table_of_shops_is_erased_unless_it_is_known_why_not() -> None:
    with_shop = {t.fullname for t in Base.metadata.sorted_tables if "shop_id" in t.columns}
    assert with_shop - set(tables_of_shops()) == {*KEPT, "crm.suppressions"}
