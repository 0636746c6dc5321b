"""The ledger of consent: who, when, by whose act, shown what; and that nobody rewrites it."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from activation.consent import ledger as written
from activation.consent.forgetting import KEPT_FOR, forget_networks
from activation.consent.ledger import acts_today
from activation.consent.reasons import keep_reason
from activation.suppressions.adding import Entry, add
from activation.unsubscribe import undo, unsubscribe
from core.database import session_scope
from core.models.enums import (
    ConsentSource,
    ConsentState,
    LeavingReason,
    SuppressionReason,
    SuppressionSource,
)
from tests.activation.consent.shop import A_CLICK, S, ledger, mail_to, told
from tests.activation.world import World

pytestmark = pytest.mark.requirement("EMAIL-01")


def test_leaving_and_coming_back_are_two_rows_that_say_who_when_and_shown_what(
    shop: World,
) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now, act=A_CLICK)
    with session_scope(shop.factory) as session:
        undo(session, link, now=shop.now + timedelta(minutes=1))
    assert told(shop) == [
        (S.SUBSCRIBED, S.UNSUBSCRIBED, "page"),
        (S.UNSUBSCRIBED, S.SUBSCRIBED, "undo"),
    ]
    left = ledger(shop)[0]
    assert (left.email_normalized, left.occurred_at) == ("c1@example.com", shop.now)
    assert (left.wording_version, left.wording) == (A_CLICK.version, A_CLICK.wording)
    assert (left.ip, left.user_agent) == ("203.0.113.7", "Mozilla/5.0")
    assert (left.message_id, left.automation_id) == (link.message_id, None)


def test_leaving_twice_is_one_row_and_leaving_after_a_subscription_at_the_shop_another(
    shop: World,
) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    for minute in (1, 2):
        with session_scope(shop.factory) as session:
            unsubscribe(session, link, now=shop.now + timedelta(minutes=minute))
    assert told(shop) == [(S.SUBSCRIBED, S.UNSUBSCRIBED, "one_click")]
    shop.set_customer(
        1,
        consent_state=ConsentState.SUBSCRIBED,
        consent_updated_at=shop.now + timedelta(hours=1),
    )
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now + timedelta(hours=2))
    assert told(shop) == [(S.SUBSCRIBED, S.UNSUBSCRIBED, "one_click")] * 2


def test_a_row_of_the_list_begins_where_an_undo_left_the_address_though_shopify_is_not_told_yet(
    shop: World,
) -> None:
    """The list had a reading of its own, which knew of no wish that waits: it wrote that the
    address had been unsubscribed.
    """
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    shop.set_customer(1, consent_state=ConsentState.UNSUBSCRIBED, consent_updated_at=shop.now)
    later = shop.now + timedelta(minutes=1)
    with session_scope(shop.factory) as session:
        undo(session, link, now=later)
    entry = Entry(shop.shop_id, "c1@example.com", SuppressionReason.MANUAL, later)
    with session_scope(shop.factory) as session:
        add(session, [entry], source=SuppressionSource.PERSON)
    assert told(shop)[-1] == (S.SUBSCRIBED, S.SUPPRESSED, "owner")


def test_what_is_rolled_back_leaves_no_row(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with shop.factory() as session:
        unsubscribe(session, link, now=shop.now)
        session.rollback()
    assert ledger(shop) == []


def test_complaints_and_what_owners_put_on_the_list_are_rows_too(shop: World) -> None:
    shop.add_customer(1)
    entries = [
        Entry(shop.shop_id, "C1@example.com", reason, shop.now)
        for reason in (SuppressionReason.COMPLAINT, SuppressionReason.MANUAL)
    ]
    for entry in entries:
        with session_scope(shop.factory) as session:
            add(session, [entry], source=SuppressionSource.EVENT)
    assert told(shop) == [
        (S.SUBSCRIBED, S.SUPPRESSED, "complaint"),
        (S.SUPPRESSED, S.SUPPRESSED, "owner"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE crm.consent_events SET state_after = 'SUBSCRIBED'",
        "UPDATE crm.consent_events SET occurred_at = occurred_at - interval '1 day'",
        "UPDATE crm.consent_events SET wording = NULL",
        "UPDATE crm.consent_events SET email_normalized = 'eve@example.com'",
        "UPDATE crm.consent_events SET reason_text = 'put into their mouth'",
        "UPDATE crm.consent_events SET ip = '198.51.100.1'",
        "DELETE FROM crm.consent_events",
    ],
)
def test_no_row_can_be_changed_or_deleted(shop: World, change: str) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now, act=A_CLICK)
    before = [vars(each) for each in ledger(shop)]
    with pytest.raises(IntegrityError, match="append-only"):
        shop.execute(change)
    keys = set(before[0]) - {"_sa_instance_state"}
    assert [{key: vars(each)[key] for key in keys} for each in ledger(shop)] == [
        {key: each[key] for key in keys} for each in before
    ]


def test_a_row_may_lose_what_is_personal_and_cannot_get_it_back(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now, act=A_CLICK)
    shop.execute("UPDATE crm.consent_events SET email_normalized = NULL, ip = NULL")
    [row] = ledger(shop)
    assert (row.email_normalized, row.ip, row.state_after) == (None, None, S.UNSUBSCRIBED)
    with pytest.raises(IntegrityError, match="append-only"):
        shop.execute("UPDATE crm.consent_events SET email_normalized = 'c1@example.com'")


def test_rows_go_only_with_a_shop_that_is_to_be_erased(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    shop.execute(
        "INSERT INTO crm.privacy_requests"
        " (shop_id, webhook_id, kind, state, requested_at, due_at)"
        " VALUES (:shop_id, 'w', 'shop_redact', 'pending', :now, :now)",
        shop_id=shop.shop_id,
        now=shop.now,
    )
    shop.execute("DELETE FROM crm.consent_events")
    assert ledger(shop) == []


def test_a_reason_is_kept_once_for_an_unsubscribe_and_not_without_one(shop: World) -> None:
    shop.add_customer(1)
    link = mail_to(shop, 1)
    said = written.Act(
        ConsentSource.PAGE, reason=LeavingReason.OTHER, reason_text=f" {'x' * 400}\x00"
    )

    def say() -> bool:
        with session_scope(shop.factory) as session:
            return keep_reason(session, link, "c1@example.com", now=shop.now, act=said)

    assert not say()
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    assert [say(), say()] == [True, False]
    row = ledger(shop)[-1]
    assert (row.state_before, row.state_after) == (S.UNSUBSCRIBED, S.UNSUBSCRIBED)
    assert (row.reason, row.reason_text) == (LeavingReason.OTHER, "x" * written.MAX_REASON)


def test_networks_go_after_a_year_but_not_of_a_confirmation(shop: World) -> None:
    with session_scope(shop.factory) as session:
        for source in (ConsentSource.PAGE, ConsentSource.DOUBLE_OPT_IN):
            act = written.Act(source, ip="203.0.113.7", user_agent="Mozilla/5.0")
            change = written.Change(
                shop.shop_id, f"{source}@example.com", None, S.SUBSCRIBED, shop.now
            )
            written.record(session, act, [change])
    with session_scope(shop.factory) as session:
        assert forget_networks(session, shop.shop_id, now=shop.now + KEPT_FOR) == 0
        later = shop.now + KEPT_FOR + timedelta(seconds=1)
        assert forget_networks(session, shop.shop_id, now=later) == 1
    assert [(each.ip, each.user_agent) for each in ledger(shop)] == [
        (None, None),
        ("203.0.113.7", "Mozilla/5.0"),
    ]


def test_only_what_people_do_counts_for_the_limit_of_a_day(shop: World) -> None:
    with session_scope(shop.factory) as session:
        for source in ConsentSource:
            if source is not ConsentSource.SHOPIFY:
                change = written.Change(shop.shop_id, "a@example.com", None, S.SUBSCRIBED, shop.now)
                written.record(session, written.Act(source), [change])
        assert acts_today(session, shop.shop_id, "a@example.com") == 4
        assert acts_today(session, shop.shop_id, "b@example.com") == 0
