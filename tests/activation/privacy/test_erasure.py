"""Erasing one person: nothing of them is found again, and everything else is as it was."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activation.privacy import bodies
from activation.privacy.work import Privacy, work_due
from activation.work import orders_due
from core.database import session_scope
from core.ingestion.runs import only_one
from core.models import DeliveryEvent, Suppression
from core.models.enums import EventState, MessageState, PrivacyKind, PrivacyState, SuppressionReason
from tests.activation.privacy.people import (
    ADA,
    EMAIL,
    OTHERS,
    STRINGS,
    ask,
    found_in_database,
    found_in_files,
    request_of,
    settle,
    subject,
    traces,
)
from tests.activation.world import World


def work(world: World, **options: Any) -> Any:
    return work_due(Privacy(world.factory, world.settings, world.clock, **options))


def erase(world: World, order: int) -> int:
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))
    work(world)
    settle(world)
    work(world)
    return request_id


def test_the_search_finds_her_wherever_she_is(world: World) -> None:
    """Without this, a search that finds nothing would prove nothing."""
    traces(world)
    places = found_in_database(world)
    assert {string for _, string in places} == {string.casefold() for string in STRINGS}
    assert {table for table, _ in places} == {
        "crm.consent_confirmations",
        "crm.consent_events",
        "crm.delivery_events",
        "crm.engagements",
        "crm.enrollments",
        "crm.messages",
        "crm.opt_outs",
        "crm.privacy_requests",
        "crm.segment_memberships",
        "crm.suppressions",
        "crm.write_backs",
        "raw_shopify.checkouts",
        "raw_shopify.customer_merges",
        "raw_shopify.customer_statistics",
        "raw_shopify.customer_touches",
        "raw_shopify.customers",
        "raw_shopify.deleted_objects",
        "raw_shopify.orders",
        "raw_shopify.refresh_requests",
        "raw_shopify.rejected_lines",
        "raw_shopify.tag_additions",
        "raw_shopify.webhook_inbox",
    }


@pytest.mark.requirement("SHOP-07")
def test_after_erasing_nothing_of_her_is_in_any_table_or_file(world: World) -> None:
    order = traces(world)
    request_id = erase(world, order)
    assert found_in_database(world) == set()
    assert found_in_files(world.settings.home) == set()
    request = request_of(world, request_id)
    assert (request.state, request.subject, request.error) == (PrivacyState.COMPLETED, None, None)
    assert request.receipt is not None
    assert request.receipt["rows"]["raw_shopify.customers"] == 2
    assert request.receipt["webhook_bodies"] == 11
    assert set(request.receipt) == {"rows", "screened_at", "swept_at", "webhook_bodies"}
    assert request.receipt["rows"]["raw_shopify.rejected_lines"] == 5
    assert request.receipt["rows"]["raw_shopify.orders"] == 3


@pytest.mark.requirement("SHOP-07")
def test_of_her_only_keyed_hashes_stay_among_the_suppressions(world: World) -> None:
    erase(world, traces(world))
    with session_scope(world.factory) as session:
        rows = session.scalars(select(Suppression)).all()
    assert {row.reason for row in rows} == {SuppressionReason.ERASED}
    assert all(row.email_normalized.startswith("hmac:") for row in rows)
    assert len(rows) == 2 + 2 + 1  # numbers, addresses, the key's own


@pytest.mark.requirement("SHOP-07")
def test_revenue_and_counts_stay_without_her(world: World) -> None:
    order = traces(world)
    before = _figures(world)
    erase(world, order)
    assert _figures(world) == before
    assert {message.state for message in world.messages()} == {MessageState.SENT}
    assert [m.customer_id for m in world.messages() if m.customer_id] == list(OTHERS)


def _figures(world: World) -> list[tuple[Any, ...]]:
    with session_scope(world.factory) as session:
        connection = session.connection()
        return [
            tuple(connection.exec_driver_sql(sql).one())
            for sql in (
                "SELECT sum(current_total), count(*) FROM raw_shopify.orders WHERE is_counted",
                "SELECT sum(quantity) FROM raw_shopify.order_lines",
                "SELECT sum(amount) FROM raw_shopify.refunds",
                "SELECT count(*) FROM crm.messages WHERE state = 'sent'",
                "SELECT count(*) FROM crm.delivery_events",
                "SELECT count(*) FROM crm.segment_memberships",
            )
        ]


@pytest.mark.requirement("SHOP-07")
def test_others_keep_everything(world: World) -> None:
    order = traces(world)
    theirs = found_in_database(world, tuple(map(str, OTHERS)))
    erase(world, order)
    assert found_in_database(world, tuple(map(str, OTHERS))) == theirs
    assert ("raw_shopify.webhook_inbox", str(OTHERS[0])) in theirs


@pytest.mark.requirement("SHOP-07")
def test_a_large_inbox_is_searched_in_turns_with_other_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searched in one go, a million webhooks held up all mail for minutes."""
    monkeypatch.setattr(bodies, "CHUNK", 3)
    order = traces(world)
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))
    work(world)
    turns = 0
    while request_of(world, request_id).state is PrivacyState.PENDING:
        settle(world)
        assert work(world, patience=0.0).failures == []
        turns += 1
    assert turns == 5  # 12 webhooks, 3 a turn, and one to see that there are no more
    assert found_in_database(world) == set()


@pytest.mark.requirement("SHOP-07")
def test_asking_again_is_fine(world: World) -> None:
    order = traces(world)
    erase(world, order)
    again = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]), webhook="w-2")
    work(world)
    settle(world)
    report = work(world)
    assert report.failures == []
    assert request_of(world, again).state is PrivacyState.COMPLETED
    assert found_in_database(world) == set()


class KilledError(BaseException):
    """What kill -9 leaves: whatever was committed."""


@pytest.mark.requirement("SHOP-07")
@pytest.mark.parametrize("step", ["screened", "batches_settled", "bodies_erased", "erased"])
def test_a_process_that_dies_at_any_step_leaves_the_rest_to_the_next(
    world: World, step: str
) -> None:
    order = traces(world)
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))

    def die(at: str) -> None:
        if at == step:
            raise KilledError

    for _ in range(2):
        with contextlib.suppress(KilledError):
            work(world, checkpoint=die)
        settle(world)
    for _ in range(2):
        work(world)
        settle(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED
    assert found_in_database(world) == set()


@pytest.mark.requirement("SHOP-07")
def test_erasing_waits_until_everybody_who_began_before_knows_of_it(world: World) -> None:
    order = traces(world)
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))
    work(world)
    assert request_of(world, request_id).state is PrivacyState.PENDING
    world.execute("UPDATE crm.privacy_requests SET next_attempt_at = clock_timestamp()")
    work(world)
    assert request_of(world, request_id).state is PrivacyState.PENDING
    assert ("raw_shopify.customers", EMAIL) in found_in_database(world)
    # but from the first moment on she is not mailed
    world.add_customer(9, email=EMAIL)
    world.place_order(9)
    world.run_cleanly()
    assert world.provider.addresses().count(EMAIL) == 1


@pytest.mark.requirement("SHOP-07")
def test_erasing_waits_for_a_sync_that_may_not_know_of_it(world: World) -> None:
    order = traces(world)
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))
    work(world)
    settle(world)
    with only_one(world.factory, world.shop_id):
        work(world)
    request = request_of(world, request_id)
    assert request.state is PrivacyState.PENDING
    assert "sync" in (request.error or "")
    settle(world)
    work(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED


@pytest.mark.requirement("SHOP-07")
def test_a_request_that_names_nobody_ends_as_failed_and_says_so(world: World) -> None:
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, {"phone": "+49 1"})
    work(world)
    request = request_of(world, request_id)
    assert request.state is PrivacyState.FAILED
    assert "names neither" in (request.error or "")


@pytest.mark.requirement("SHOP-07")
def test_what_goes_wrong_is_told_and_tried_again(world: World) -> None:
    """An error of one request neither ends the run nor forgets the request."""
    order = traces(world)
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject([order]))

    def fail(_: str) -> None:
        raise ValueError(EMAIL)

    report = work(world, checkpoint=fail)
    request = request_of(world, request_id)
    assert report.failures == [(world.shop_id, "an error of EcomCRM itself: ValueError")]
    assert (request.state, request.attempts) == (PrivacyState.PENDING, 1)
    assert request.error == "an error of EcomCRM itself: ValueError"
    settle(world)
    work(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED


@pytest.mark.requirement("SHOP-07")
def test_late_events_about_her_mails_leave_nothing(world: World) -> None:
    """A bounce a week later carries the address; it was stored whole."""
    order = traces(world)
    [message] = [m for m in world.messages() if m.customer_id == ADA]
    erase(world, order)
    body = {
        "data": {
            "to": [EMAIL],
            "bounce": {"type": "Permanent", "message": f"no {EMAIL}"},
            "tags": {"shop_id": str(world.shop_id), "send_id": str(message.message_id)},
        }
    }
    with session_scope(world.factory) as session:
        session.add(
            DeliveryEvent(
                provider="resend",
                event_id="late",
                event_type="email.bounced",
                occurred_at=world.now + timedelta(days=7),
                state=EventState.STORED,
                body=body,
            )
        )
    world.run_cleanly()
    assert found_in_database(world) == set()
    assert MessageState.BOUNCED in {message.state for message in world.messages()}


@pytest.mark.requirement("SHOP-07")
def test_a_request_is_work_for_an_activation_run_until_it_waits(world: World) -> None:
    ask(world, PrivacyKind.CUSTOMER_REDACT, subject())
    with session_scope(world.factory) as session:
        assert orders_due(session)
    assert world.run_cleanly().people_erased == 0
    with session_scope(world.factory) as session:
        assert not orders_due(session)
    settle(world)
    assert world.run_cleanly().people_erased == 1
