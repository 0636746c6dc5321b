"""What Shopify told of consent comes into the ledger, once, with Shopify's own time."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from activation.consent.comparing import compare_due
from activation.unsubscribe import undo, unsubscribe
from activation.work import orders_due
from core.database import session_scope
from core.models.enums import ConsentState, WriteBackState
from tests.activation.admin import FakeAdmin, Held
from tests.activation.consent.shop import S, compare, ledger, mail_to, told
from tests.activation.wishes import write
from tests.activation.world import World

pytestmark = pytest.mark.requirement("EMAIL-02")


def test_a_first_walk_records_who_decided_and_not_who_never_did(shop: World) -> None:
    shop.add_customer(1)
    shop.add_customer(2, consent_state=ConsentState.UNSUBSCRIBED)
    shop.add_customer(3, consent_state=ConsentState.NOT_SUBSCRIBED, consent_updated_at=None)
    shop.add_customer(4, consent_state=None, consent_updated_at=None)
    shop.add_customer(5, email=None)
    shop.add_customer(6, deleted_at=shop.now)
    assert compare(shop).recorded == 2
    assert told(shop) == [(None, S.SUBSCRIBED, "shopify"), (None, S.UNSUBSCRIBED, "shopify")]
    first = ledger(shop)[0]
    assert (first.customer_id, first.email_normalized) == (1, "c1@example.com")
    assert first.occurred_at == shop.now - timedelta(days=1)


def test_what_is_told_again_is_no_event_and_what_changed_is_one(shop: World) -> None:
    shop.add_customer(1)
    assert [compare(shop).recorded, compare(shop).recorded] == [1, 0]
    shop.set_customer(1, first_name="Anne", updated_at=shop.now + timedelta(hours=1))
    assert compare(shop).recorded == 0
    left = shop.now + timedelta(hours=2)
    shop.set_customer(1, consent_state=ConsentState.UNSUBSCRIBED, consent_updated_at=left)
    assert compare(shop).recorded == 1
    assert told(shop)[1:] == [(S.SUBSCRIBED, S.UNSUBSCRIBED, "shopify")]
    assert ledger(shop)[1].occurred_at == left


def test_another_address_is_another_permission(shop: World) -> None:
    shop.add_customer(1)
    compare(shop)
    shop.set_customer(1, email="new@example.com")
    compare(shop)
    assert [each.email_normalized for each in ledger(shop)] == [
        "c1@example.com",
        "new@example.com",
    ]
    assert told(shop)[1] == (None, S.SUBSCRIBED, "shopify")


def test_what_we_wrote_to_shopify_ourselves_comes_back_as_no_event(shop: World) -> None:
    shop.add_customer(1)
    compare(shop)
    link = mail_to(shop, 1)
    admin = FakeAdmin(shop.clock, {1: Held("c1@example.com", updated_at=shop.now)})
    shop.clock.advance(timedelta(hours=1))
    for act in (unsubscribe, undo):
        with session_scope(shop.factory) as session:
            act(session, link, now=shop.now)
        assert write(shop, admin).written == 2
        held = admin.customers[1]
        shop.set_customer(1, consent_state=held.state, consent_updated_at=held.updated_at)
        assert compare(shop).recorded == 0
        shop.clock.advance(timedelta(hours=1))
    assert [source for _, _, source in told(shop)] == ["shopify", "one_click", "undo"]


def test_a_wish_that_shopify_refused_is_no_excuse_to_miss_an_event(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    shop.execute("UPDATE crm.write_backs SET state = :state", state=WriteBackState.FAILED.value)
    shop.set_customer(1, consent_state=ConsentState.UNSUBSCRIBED, consent_updated_at=shop.now)
    assert compare(shop).recorded == 1


def test_a_walk_goes_in_ranges_and_on_where_it_stopped(shop: World) -> None:
    shop.add_customers(range(1, 8))
    stops = iter([False, False, True])
    compare(shop)  # the shop's row is made by the first
    shop.execute("UPDATE raw_shopify.customers SET email = 'n' || email")
    report = compare(shop, size=2, stop=lambda: next(stops))
    assert report.recorded == 4
    with session_scope(shop.factory) as session:
        assert orders_due(session)  # a walk under way is work
    assert compare(shop, size=2).recorded == 3
    assert compare(shop, size=2).recorded == 0
    assert len(ledger(shop)) == 14


def test_the_next_walk_waits_and_is_due_by_itself_after_an_hour(shop: World) -> None:
    compare(shop)
    shop.add_customer(1)
    with session_scope(shop.factory) as session:
        assert not orders_due(session)
    shop.execute("UPDATE crm.consent_policies SET compare_at = compare_at - interval '61 minutes'")
    with session_scope(shop.factory) as session:
        assert orders_due(session)
    assert compare(shop).recorded == 1


def test_of_two_runs_at_once_one_walks(shop: World) -> None:
    shop.add_customer(1)
    compare(shop)
    shop.set_customer(1, consent_updated_at=shop.now)
    shop.execute("UPDATE crm.consent_policies SET compare_at = clock_timestamp()")
    with session_scope(shop.factory) as other:
        other.execute(text("SELECT 1 FROM crm.consent_policies FOR UPDATE"))
        assert compare_due(shop.factory, shop.shop_id, now=shop.now).recorded == 0
    assert compare(shop).recorded == 1
