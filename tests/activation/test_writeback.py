"""What Shopify is told of tags and consents, and what it is not told."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from activation.suppressions.adding import Entry, add
from activation.unsubscribe import Recipient, undo, unsubscribe
from activation.writer import WriteReport, retry_delay
from core.database import session_scope
from core.errors import TransientError
from core.models import RefreshRequest
from core.models.enums import (
    ConsentState,
    SuppressionReason,
    SuppressionSource,
    WriteBackKind,
)
from core.shopify.errors import AccessDeniedError
from tests.activation.admin import FakeAdmin, Held
from tests.activation.wishes import (
    ANNA,
    DONE,
    FAILED,
    QUEUED,
    SUPERSEDED,
    anna_at_shopify,
    states,
    wishes,
    write,
)
from tests.activation.world import World


@pytest.fixture
def admin(world: World) -> FakeAdmin:
    return anna_at_shopify(world)


@pytest.fixture
def link(world: World, admin: FakeAdmin) -> Recipient:
    return Recipient(world.shop_id, world.message().message_id)


def leave(world: World, link: Recipient) -> None:
    with session_scope(world.factory) as session:
        unsubscribe(session, link, now=world.now)


def come_back(world: World, link: Recipient) -> None:
    with session_scope(world.factory) as session:
        undo(session, link, now=world.now)


def now_again(world: World) -> None:
    """As if every wait were over."""
    world.execute(
        "UPDATE crm.write_backs SET next_attempt_at = clock_timestamp()"
        " WHERE next_attempt_at IS NOT NULL"
    )


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_an_unsubscribe_reaches_shopify_with_its_moment_and_a_tag(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    left_at = world.now
    leave(world, link)
    world.clock.advance(timedelta(minutes=5))
    report = write(world, admin)

    held = admin.customers[ANNA]
    assert (held.state, held.updated_at) == ("UNSUBSCRIBED", left_at)
    assert held.level == "CONFIRMED_OPT_IN"
    assert held.tags == ["unsubscribed"]
    assert report == WriteReport(written=2)
    assert states(world) == [DONE, DONE]


@pytest.mark.requirement("CRM-04")
def test_after_a_write_the_customer_is_read_anew(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    write(world, admin)
    with session_scope(world.factory) as session:
        [request] = session.scalars(select(RefreshRequest)).all()
    assert (request.object_id, request.reason) == (ANNA, "written back")


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_every_customer_with_the_address_is_told_of_and_no_deleted_one(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    world.add_customer(2, email=" C1@Example.com")
    world.add_customer(3, email="c1@example.com", deleted_at=world.now)
    world.add_customer(4, email="c4@example.com")
    leave(world, link)
    assert {wish.customer_id for wish in wishes(world)} == {1, 2}


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_a_rolled_back_unsubscribe_tells_nothing(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    with world.factory() as session:
        unsubscribe(session, link, now=world.now)
        session.rollback()
    assert wishes(world) == []


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_who_subscribed_at_the_shop_since_stays_subscribed(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    admin.customers[ANNA].updated_at = world.now + timedelta(seconds=1)
    write(world, admin)
    assert admin.customers[ANNA].state == "SUBSCRIBED"
    consent, _ = wishes(world)
    assert (consent.state, consent.error) == (SUPERSEDED, "They subscribed at the shop since.")


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_an_undo_takes_back_what_we_wrote(world: World, admin: FakeAdmin, link: Recipient) -> None:
    leave(world, link)
    write(world, admin)
    world.clock.advance(timedelta(minutes=5))
    come_back(world, link)
    write(world, admin)
    held = admin.customers[ANNA]
    assert (held.state, held.level, held.tags) == ("SUBSCRIBED", "CONFIRMED_OPT_IN", [])
    assert held.updated_at == world.now
    assert states(world) == [DONE] * 4


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_an_undo_before_anything_was_written_writes_nothing(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    come_back(world, link)
    write(world, admin)
    assert admin.customers[ANNA].state == "SUBSCRIBED"
    assert "CustomerConsentUpdate" not in admin.written()
    assert states(world) == [SUPERSEDED, SUPERSEDED, SUPERSEDED, DONE]


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_an_undo_leaves_alone_what_others_did_at_shopify(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    """The merchant unsubscribed and tagged them too; that is not ours to take back."""
    world.set_customer(ANNA, tags=["Unsubscribed"])
    admin.customers[ANNA] = Held("c1@example.com", "UNSUBSCRIBED", updated_at=world.now)
    admin.customers[ANNA].tags = ["Unsubscribed"]
    world.clock.advance(timedelta(minutes=5))
    leave(world, link)
    write(world, admin)
    come_back(world, link)
    write(world, admin)
    held = admin.customers[ANNA]
    assert (held.state, held.tags, admin.written()) == ("UNSUBSCRIBED", ["Unsubscribed"], [])


@pytest.mark.requirement("CRM-04")
def test_a_change_at_shopify_after_ours_is_not_taken_back(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    write(world, admin)
    admin.customers[ANNA].updated_at = world.now + timedelta(minutes=3)
    world.clock.advance(timedelta(minutes=5))
    come_back(world, link)
    write(world, admin)
    assert admin.customers[ANNA].state == "UNSUBSCRIBED"


@pytest.mark.requirement("CRM-04", "EMAIL-01")
def test_a_new_address_of_the_customer_is_not_unsubscribed(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    admin.customers[ANNA].email = "new@example.com"
    write(world, admin)
    assert admin.customers[ANNA].state == "SUBSCRIBED"


@pytest.mark.requirement("CRM-04")
def test_a_moment_in_shopifys_future_is_left_to_shopify(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    shopifys_now = world.now - timedelta(hours=1)
    admin.now = lambda: shopifys_now
    leave(world, link)
    write(world, admin)
    held = admin.customers[ANNA]
    assert (held.state, held.updated_at) == ("UNSUBSCRIBED", shopifys_now)
    come_back(world, link)
    write(world, admin)
    assert held.state == "SUBSCRIBED"


@pytest.mark.requirement("CRM-04")
def test_trouble_at_shopify_is_waited_out(world: World, admin: FakeAdmin, link: Recipient) -> None:
    leave(world, link)
    admin.faults = [TransientError("Shopify has a problem of its own (503).")]
    report = write(world, admin)
    assert (report.postponed, report.problem) == (2, "Shopify has a problem of its own (503).")
    assert states(world) == [QUEUED, QUEUED]
    assert write(world, admin) == WriteReport()  # not before its time
    now_again(world)
    write(world, admin)
    assert states(world) == [DONE, DONE]
    assert admin.customers[ANNA].state == "UNSUBSCRIBED"


def test_waits_grow_to_an_hour() -> None:
    delays = [retry_delay(attempts) for attempts in range(1, 80)]
    assert delays[0] == timedelta(seconds=30)
    assert delays == sorted(delays)
    assert delays[-1] == timedelta(hours=1)


@pytest.mark.requirement("CRM-04")
def test_after_three_days_of_trouble_it_is_given_up_and_says_so(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    world.execute("UPDATE crm.write_backs SET attempts = 79")
    admin.faults = [TransientError("No answer.")] * 2
    write(world, admin)
    assert states(world) == [FAILED, FAILED]
    assert wishes(world)[0].error == "Given up after 80 tries: No answer."


@pytest.mark.requirement("CRM-04")
def test_a_missing_scope_is_said_in_words(world: World, admin: FakeAdmin, link: Recipient) -> None:
    leave(world, link)
    admin.faults = [AccessDeniedError("Access denied")] * 2
    write(world, admin)
    assert states(world) == [FAILED, FAILED]
    assert "write_customers" in (wishes(world)[0].error or "")


@pytest.mark.requirement("CRM-04")
def test_a_worker_that_died_after_the_call_is_followed_by_one_that_changes_nothing(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    left_at = world.now
    admin.customers[ANNA].state, admin.customers[ANNA].updated_at = "UNSUBSCRIBED", left_at
    world.execute("UPDATE crm.write_backs SET attempts = 1, error = NULL")  # it got that far
    world.clock.advance(timedelta(minutes=10))
    write(world, admin)
    assert states(world) == [DONE, DONE]
    assert admin.customers[ANNA].updated_at == left_at
    come_back(world, link)
    write(world, admin)
    assert admin.customers[ANNA].state == "SUBSCRIBED"


@pytest.mark.requirement("CRM-04")
def test_without_a_level_one_is_sent_that_shopify_takes(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    admin.customers[ANNA].level = None
    leave(world, link)
    write(world, admin)
    assert admin.customers[ANNA].level == "SINGLE_OPT_IN"


@pytest.mark.requirement("EMAIL-03", "CRM-04")
def test_a_bounce_or_a_complaint_changes_no_consent_at_shopify(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    entries = [
        Entry(world.shop_id, "c1@example.com", reason, world.now, link.message_id)
        for reason in (SuppressionReason.COMPLAINT, SuppressionReason.HARD_BOUNCE)
    ]
    with session_scope(world.factory) as session:
        assert len(add(session, entries, source=SuppressionSource.EVENT)) == 2
    assert wishes(world) == []


def test_the_wish_for_a_consent_says_which_and_when(
    world: World, admin: FakeAdmin, link: Recipient
) -> None:
    leave(world, link)
    consent, tagged = wishes(world)
    assert (consent.kind, consent.consent_state) == (
        WriteBackKind.CONSENT,
        ConsentState.UNSUBSCRIBED,
    )
    assert consent.consent_at == consent.requested_at == world.now
    assert (tagged.kind, tagged.tag) == (WriteBackKind.ADD_TAG, "unsubscribed")
    assert consent.next_attempt_at is not None
    assert consent.next_attempt_at - datetime.now(UTC) < timedelta(seconds=1)
