from datetime import timedelta

import pytest

from core.models import (
    Enrollment,
    InboxMessage,
    SendingHold,
    SendPace,
)
from core.models.enums import (
    EnrollmentState,
    HoldCause,
    InboxState,
    MessageState,
    SkipReason,
    SyncKind,
    SyncState,
)
from core.scopes import NEEDED
from tests.webapp.builders import add_flow, add_message, add_sync, status, titles
from webapp.overview import View


@pytest.mark.requirement("SHOP-09")
def test_a_shop_that_was_never_synced_says_so(view: View) -> None:
    assert (status(view).freshness.face, status(view).freshness.text) == ("never", "Never synced")


@pytest.mark.requirement("SHOP-09")
def test_the_age_of_the_last_completed_sync_is_shown(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(minutes=3))
    freshness = status(view).freshness
    assert (freshness.face, freshness.text) == ("idle", "Synced 3 min ago")
    assert freshness.moment
    assert freshness.moment.absolute == "20 Nov 2026, 11:57:00 GMT"
    assert titles(view) == []


@pytest.mark.requirement("SHOP-09")
def test_a_day_without_a_completed_sync_alerts(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(hours=24, minutes=1))
    assert status(view).freshness.face == "stale"
    assert titles(view) == ["No sync completed in the last 24 hours"]


def test_a_failed_sync_alerts_with_its_words(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(hours=2))
    add_sync(view, SyncState.FAILED, timedelta(minutes=8), error="Shopify refused the key")
    shown = status(view)
    assert shown.freshness.text == "Sync failed 8 min ago"
    assert shown.alerts[0].title == "The last sync failed"
    assert shown.alerts[0].text.startswith("Shopify refused the key. What was loaded")


def test_a_running_sync_shows_what_it_has_loaded(view: View) -> None:
    add_sync(view, SyncState.RUNNING, timedelta(seconds=1), customers_loaded=3012)
    assert status(view).freshness.text == "Syncing · 3,012 customers"
    assert status(view).syncs[0].took == "13 s"


@pytest.mark.requirement("SHOP-09")
def test_a_sync_that_died_while_running_does_not_hide_that_data_is_old(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(hours=30))
    add_sync(view, SyncState.RUNNING, timedelta(hours=25))
    assert status(view).freshness.face == "running"
    assert titles(view) == ["No sync completed in the last 24 hours"]


def test_lines_that_could_not_be_read_are_counted(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(minutes=3), lines_rejected=2)
    assert status(view).syncs[0].rejected == "2 lines could not be read"


def test_segments_held_back_alert_until_they_are_released(view: View) -> None:
    view.shop.segments_held_at = view.now - timedelta(hours=2)
    view.shop.segments_held_reason = "Orders fell by 24 %."
    assert titles(view) == ["Segments are held back"]
    [alert] = status(view).alerts
    assert alert.text.startswith("Orders fell by 24 %. Nobody")
    assert alert.url == f"/held?shop={view.shop.shop_id}"
    view.shop.segments_held_at = None
    assert titles(view) == []


def test_webhooks_that_could_not_be_applied_are_counted(view: View) -> None:
    for key, state in (("a", InboxState.FAILED), ("b", InboxState.APPLIED)):
        view.session.add(
            InboxMessage(
                shop_id=view.shop.shop_id,
                webhook_id=key,
                topic="orders/create",
                body=b"",
                state=state,
                received_at=view.now,
            )
        )
    assert titles(view) == ["1 webhook from Shopify could not be applied"]


def test_a_paused_provider_alerts_with_its_reason(view: View) -> None:
    view.session.add(
        SendPace(
            shop_id=view.shop.shop_id,
            paused_until=view.real_now + timedelta(hours=1),
            paused_reason="The domain is not verified",
        )
    )
    shown = status(view)
    assert shown.alerts[0].title == "The mail provider refuses mail"
    assert shown.alerts[0].text.startswith("The domain is not verified. Mail waits")


@pytest.mark.requirement("EMAIL-03")
def test_a_shop_that_stopped_by_its_own_figures_says_so_until_a_person_resumes(view: View) -> None:
    hold = SendingHold(
        shop_id=view.shop.shop_id,
        held_at=view.now,
        cause=HoldCause.BOUNCES,
        reason="4 of the 100 mails bounced.",
        figures={},
    )
    pace = SendPace(
        shop_id=view.shop.shop_id,
        paused_until=view.real_now + timedelta(days=3650),
        paused_reason=hold.reason,
    )
    view.session.add_all([hold, pace])
    [alert, *_] = status(view).alerts
    assert alert.title.startswith("Sending has stopped")
    assert alert.text.startswith("4 of the 100 mails bounced. ")
    assert "`ecomcrm sending resume`" in alert.text
    hold.resumed_at, pace.paused_until = view.now, None
    assert not [title for title in titles(view) if "Sending" in title]


def test_a_shop_without_sender_or_old_orders_is_told(view: View) -> None:
    view.shop.postal_address = view.shop.sender_address = None
    view.shop.access_scopes = [scope for scope in NEEDED if scope != "read_all_orders"]
    assert titles(view) == [
        "Shopify shows us only the last 60 days of orders",
        "The shop has no sender address and no postal address",
    ]


def test_a_missing_scope_says_what_it_costs(view: View) -> None:
    view.shop.access_scopes = ["write_customers", "read_orders", "read_all_orders"]
    [alert] = status(view).alerts
    assert alert.title == "The app lacks 1 scope"
    assert alert.text.startswith("Without `read_products`: titles and pictures")
    view.shop.access_scopes = ["read_customers", "read_orders", "read_all_orders"]
    [alert] = status(view).alerts
    assert alert.title == "The app lacks 2 scopes"
    assert alert.text.startswith("Without `write_customers`, `read_products`: tags of flows")


def test_scopes_that_were_never_asked_for_are_not_missing(view: View) -> None:
    view.shop.access_scopes = []
    assert titles(view) == []


def test_webhooks_that_do_not_come_alert_with_the_reason(view: View) -> None:
    view.shop.webhooks_problem = "Shopify does not tell us of: ORDERS_PAID (no)"
    [alert] = status(view).alerts
    assert alert.title == "Shopify does not tell us every change at once"
    assert alert.text == "Shopify does not tell us of: ORDERS_PAID (no)."


def test_a_shop_that_removed_the_app_is_told_that_and_not_what_comes_of_it(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(days=3))
    add_sync(view, SyncState.FAILED, timedelta(days=2), error="The app was removed")
    view.shop.uninstalled_at = view.now - timedelta(days=2)
    view.shop.webhooks_problem = "Webhooks could not be checked"
    assert titles(view) == ["The app was removed from this shop"]


@pytest.mark.requirement("SHOP-09")
def test_a_reconciliation_makes_no_data_fresh(view: View) -> None:
    """It only compares: a day without a sync looked fresh after one."""
    add_sync(view, SyncState.COMPLETED, timedelta(hours=25))
    add_sync(view, SyncState.COMPLETED, timedelta(minutes=3), kind=SyncKind.RECONCILE)
    assert status(view).freshness.face == "stale"
    assert titles(view) == ["No sync completed in the last 24 hours"]
    add_sync(view, SyncState.FAILED, timedelta(minutes=2), kind=SyncKind.RECONCILE)
    assert titles(view) == ["No sync completed in the last 24 hours"]


def test_the_welcome_flow_shows_whether_it_is_on_and_what_it_did(view: View) -> None:
    assert status(view).flow.label == "Not set up"
    flow = add_flow(view)
    view.session.add(
        Enrollment(
            shop_id=view.shop.shop_id,
            automation_id=flow,
            version=1,
            customer_id=7,
            entry_key="first",
            moment_at=view.now,
            state=EnrollmentState.ACTIVE,
            enrolled_at=view.now,
        )
    )
    add_message(view, flow, "1", MessageState.SENT, sent_at=view.now)
    add_message(view, flow, "2", MessageState.SKIPPED, skip_reason=SkipReason.NOT_SUBSCRIBED)
    shown = status(view).flow
    assert (shown.label, shown.waiting, shown.sent, shown.skipped) == ("On", "1", "1", "1")
    assert shown.since
    assert shown.since.relative == "2 d ago"


def test_a_flow_that_is_off_says_so(view: View) -> None:
    add_flow(view, is_active=False)
    assert (status(view).flow.label, status(view).flow.since) == ("Off", None)
