"""Wishes that failed for want of a scope, when it comes."""

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from activation.writeback import Occasion, after_undo, after_unsubscribe, request_tag
from core.clock import MovableClock
from core.granted import ATTEMPTS, CANNOT_WRITE, keep_scopes
from core.models import Customer, Shop, WriteBack
from core.models.enums import WriteBackState
from core.settings import Settings
from tests.fixtures.shopify import DOMAIN, add_shop

GRANTED = ["read_customers", "write_customers"]
EMAIL = "c5@example.com"


@pytest.fixture
def shop(session: Session, settings: Settings, clock: MovableClock) -> Shop:
    shop = add_shop(session, settings)
    add_shop(session, settings, domain=f"other-{DOMAIN}")
    for customer_id in (5, 6):
        session.add(
            Customer(
                shop_id=shop.shop_id,
                customer_id=customer_id,
                email=f"c{customer_id}@example.com",
                created_at=clock.now(),
                updated_at=clock.now(),
            )
        )
    session.flush()
    return shop


def wish(session: Session, shop: Shop, clock: MovableClock, tag: str, **options: Any) -> None:
    occasion = options.pop("occasion", tag)
    customer = options.pop("customer", 5)
    asked = {"occasion": occasion, "at": clock.now()} | options
    assert request_tag(session, shop.shop_id, customer, tag, **asked)


def fail(session: Session, words: str = CANNOT_WRITE, *, attempts: int = 1) -> None:
    """Whatever is queued."""
    session.execute(
        update(WriteBack)
        .where(WriteBack.state == WriteBackState.QUEUED)
        .values(state=WriteBackState.FAILED, error=words, attempts=attempts, next_attempt_at=None)
    )


def queued(session: Session) -> list[tuple[str, str | None]]:
    found = session.execute(
        select(WriteBack.kind, WriteBack.tag)
        .where(
            WriteBack.state == WriteBackState.QUEUED,
            WriteBack.next_attempt_at.is_not(None),
            WriteBack.error.is_(None),
        )
        .order_by(WriteBack.write_back_id)
    )
    return [(kind.value, tag) for kind, tag in found]


@pytest.mark.requirement("CRM-04")
@pytest.mark.parametrize(
    ("scopes", "expected"), [(["read_customers"], []), (GRANTED, [("add_tag", "vip")])]
)
def test_only_the_scope_that_was_missing_queues_them_again(
    session: Session,
    shop: Shop,
    clock: MovableClock,
    scopes: list[str],
    expected: list[tuple[str, str]],
) -> None:
    wish(session, shop, clock, "vip")
    fail(session)
    keep_scopes(session, shop.shop_id, scopes)
    session.flush()
    assert queued(session) == expected
    assert shop.access_scopes == scopes


def test_what_failed_for_another_reason_or_too_often_or_elsewhere_stays_failed(
    session: Session, shop: Shop, clock: MovableClock
) -> None:
    wish(session, shop, clock, "refused")
    fail(session, "Shopify refuses: the tag is too long")
    wish(session, shop, clock, "often")
    fail(session, attempts=ATTEMPTS)
    keep_scopes(session, shop.shop_id, GRANTED)
    assert queued(session) == []
    wish(session, shop, clock, "vip")
    fail(session)
    keep_scopes(session, shop.shop_id + 1, GRANTED)
    assert queued(session) == []


def test_of_one_customer_and_tag_only_the_latest_wish_is_queued_again(
    session: Session, shop: Shop, clock: MovableClock
) -> None:
    """An older one, written last, would have undone the later."""
    wish(session, shop, clock, "vip")
    wish(session, shop, clock, "vip", customer=6)
    wish(session, shop, clock, "tea")
    fail(session)
    wish(session, shop, clock, "VIP", add=False, occasion="later")
    session.execute(
        update(WriteBack)
        .where(WriteBack.state == WriteBackState.QUEUED)
        .values(state=WriteBackState.DONE)
    )
    wish(session, shop, clock, "Tea", add=False, occasion="later")
    fail(session)
    keep_scopes(session, shop.shop_id, GRANTED)
    assert queued(session) == [("add_tag", "vip"), ("remove_tag", "Tea")]


def test_of_the_consents_of_a_customer_only_the_latest_is_queued_again(
    session: Session, shop: Shop, clock: MovableClock
) -> None:
    def at(name: str) -> Occasion:
        return Occasion(shop.shop_id, name, clock.now())

    assert after_unsubscribe(session, at("leave"), EMAIL) == 2
    assert after_undo(session, at("undo"), EMAIL) == 2
    assert after_unsubscribe(session, at("leave again"), EMAIL) == 2
    fail(session)
    keep_scopes(session, shop.shop_id, GRANTED)
    assert queued(session) == [("consent", None), ("add_tag", "unsubscribed")]
