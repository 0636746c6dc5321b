"""What Shopify is told of tags and consents, and what it is not told."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from activation.unsubscribe import Recipient, suppress, undo, unsubscribe
from activation.work import orders_due
from activation.writeback import request_tag
from activation.writer import WriteReport, retry_delay, write_due
from core.database import session_scope
from core.errors import PermanentError, TransientError
from core.models import RefreshRequest, WriteBack
from core.models.enums import ConsentState, WriteBackKind, WriteBackState
from core.shopify.errors import AccessDeniedError
from tests.activation.admin import FakeAdmin, Held
from tests.activation.world import World

ANNA = 1
QUEUED, DONE = WriteBackState.QUEUED, WriteBackState.DONE
SUPERSEDED, FAILED = WriteBackState.SUPERSEDED, WriteBackState.FAILED


@pytest.fixture
def admin(world: World) -> FakeAdmin:
    """Anna was mailed and is subscribed at Shopify since yesterday."""
    world.buyers([ANNA])
    world.run_cleanly()
    world.clock.advance(timedelta(hours=1))
    held = Held("c1@example.com", updated_at=world.now - timedelta(days=1))
    return FakeAdmin(world.clock, {ANNA: held})


@pytest.fixture
def link(world: World, admin: FakeAdmin) -> Recipient:
    return Recipient(world.shop_id, world.message().message_id)


def leave(world: World, link: Recipient) -> None:
    with session_scope(world.factory) as session:
        unsubscribe(session, link, now=world.now)


def come_back(world: World, link: Recipient) -> None:
    with session_scope(world.factory) as session:
        undo(session, link, now=world.now)


def write(world: World, admin: FakeAdmin) -> WriteReport:
    world.client_of = lambda _: admin
    return write_due(world.factory, world.client_of, world.shop_id, clock=world.clock)


def wishes(world: World) -> list[WriteBack]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(WriteBack).order_by(WriteBack.write_back_id)))


def states(world: World) -> list[WriteBackState]:
    return [wish.state for wish in wishes(world)]


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
def test_shopifys_refusal_is_kept_in_its_words(world: World, admin: FakeAdmin) -> None:
    admin.faults = [PermanentError("Shopify answers 402: the shop is frozen.")]
    tag(world, "vip", occasion="1")
    write(world, admin)
    [wish] = wishes(world)
    assert (wish.state, wish.error) == (FAILED, "Shopify answers 402: the shop is frozen.")


def tag(
    world: World, name: str, *, add: bool = True, occasion: str, customer_id: int = ANNA
) -> bool:
    with session_scope(world.factory) as session:
        return request_tag(
            *(session, world.shop_id, customer_id, name),
            add=add,
            occasion=occasion,
            at=world.now,
        )


@pytest.mark.requirement("CRM-04")
def test_a_tag_of_one_occasion_is_asked_for_once(world: World, admin: FakeAdmin) -> None:
    assert tag(world, "vip", occasion="enrollment/7/add_vip")
    assert not tag(world, "vip", occasion="enrollment/7/add_vip")
    write(world, admin)
    assert admin.customers[ANNA].tags == ["vip"]
    assert admin.written() == ["TagsAdd"]


@pytest.mark.requirement("CRM-04")
def test_of_one_tag_only_the_latest_wish_is_written(world: World, admin: FakeAdmin) -> None:
    tag(world, "VIP", occasion="1")
    tag(world, "other", occasion="2")
    tag(world, "vip", add=False, occasion="3")
    write(world, admin)
    assert admin.written() == ["TagsAdd", "TagsRemove"]
    assert admin.customers[ANNA].tags == ["other"]
    assert states(world) == [SUPERSEDED, DONE, DONE]


@pytest.mark.requirement("CRM-04")
def test_a_repeated_occasion_supersedes_nothing_that_came_after_it(
    world: World, admin: FakeAdmin
) -> None:
    tag(world, "vip", occasion="1")
    tag(world, "vip", add=False, occasion="2")
    tag(world, "vip", occasion="1")
    write(world, admin)
    assert admin.customers[ANNA].tags == []


@pytest.mark.requirement("CRM-04")
def test_a_later_wish_waits_for_an_earlier_one_that_is_on_its_way(
    world: World, admin: FakeAdmin
) -> None:
    """Written at once, it could have been overtaken by the earlier one, which then stayed."""
    tag(world, "vip", occasion="1")
    reports: list[WriteReport] = []

    def meanwhile(_: str) -> None:
        if not reports:
            tag(world, "vip", add=False, occasion="2")
            reports.append(WriteReport())
            reports.append(write(world, admin))

    admin.before_call = meanwhile
    write(world, admin)
    assert reports[1] == WriteReport()
    assert admin.customers[ANNA].tags == ["vip"]
    write(world, admin)
    assert admin.customers[ANNA].tags == []
    assert states(world) == [SUPERSEDED, DONE]


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
@pytest.mark.parametrize("where", ["here", "at Shopify"])
def test_a_customer_who_is_gone_needs_no_tag(world: World, admin: FakeAdmin, where: str) -> None:
    tag(world, "vip", occasion="1")
    if where == "here":
        world.set_customer(ANNA, deleted_at=world.now)
    else:
        del admin.customers[ANNA]
    write(world, admin)
    assert states(world) == [SUPERSEDED]


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
    with session_scope(world.factory) as session:
        suppress(session, link, reason="complaint", now=world.now)
        suppress(session, link, reason="hard_bounce", now=world.now)
    assert wishes(world) == []


@pytest.mark.requirement("CRM-04")
def test_the_activation_run_writes_what_waits(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    with session_scope(world.factory) as session:
        assert orders_due(session)
    report = world.run_cleanly(client_of=lambda _: admin)
    assert report.write_backs_done == 1
    assert admin.customers[ANNA].tags == ["vip"]


@pytest.mark.requirement("CRM-04")
def test_trouble_with_writing_back_holds_up_no_mail(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    world.buyers([2])
    admin.faults = [TransientError("No answer.")]
    report = world.run(client_of=lambda _: admin)
    assert [(failure.stage, failure.message) for failure in report.failures] == [
        ("write_back", "No answer.")
    ]
    assert world.provider.addresses()[-1] == "c2@example.com"


@pytest.mark.requirement("CRM-04")
def test_nothing_is_written_to_a_shop_that_removed_the_app(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    world.set_shop(uninstalled_at=world.now)
    with session_scope(world.factory) as session:
        assert not orders_due(session)
    world.run_cleanly(client_of=lambda _: admin)
    assert admin.written() == []


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
