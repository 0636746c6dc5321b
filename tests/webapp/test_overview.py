from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core import accounts
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import (
    Automation,
    AutomationVersion,
    Customer,
    CustomerStatistics,
    Enrollment,
    InboxMessage,
    Message,
    Order,
    RfmRun,
    SegmentMembership,
    SendPace,
    Shop,
    ShopMember,
    Suppression,
    SyncRun,
)
from core.models.enums import (
    ConsentState,
    DeferReason,
    EnrollmentState,
    GateState,
    InboxState,
    MembershipCause,
    MessageState,
    Segment,
    SkipReason,
    SuppressionReason,
    SyncKind,
    SyncState,
)
from core.settings import Settings
from tests.webapp.conftest import EMAIL, HTML, PASSWORD, make_shop
from webapp.contexts import FiguresPart, MessagesPart, StatusPart
from webapp.overview import View, figures_part, messages_part, status_part


@pytest.fixture
def view(session: Session, shop: Shop, clock: MovableClock) -> View:
    return View.at(session, session.merge(shop), clock)


def add_customer(view: View, customer_id: int, **changes: Any) -> None:
    values = {
        "email": f"c{customer_id}@example.com",
        "first_name": "Grace",
        "last_name": "Hopper",
        "consent_state": ConsentState.SUBSCRIBED,
        "created_at": view.now - timedelta(days=400),
        "updated_at": view.now,
    }
    view.session.add(
        Customer(shop_id=view.shop.shop_id, customer_id=customer_id, **(values | changes))
    )


def add_order(view: View, order_id: int, at: datetime, **changes: Any) -> None:
    values = {
        "name": f"#{order_id}",
        "customer_id": None,
        "created_at": at,
        "updated_at": at,
        "processed_at": at,
        "is_test": False,
        "financial_status": "PAID",
        "currency": "GBP",
        "current_total": Decimal("10.10"),
        "original_total": Decimal("10.10"),
        "refunded_total": Decimal(0),
    }
    view.session.add(Order(shop_id=view.shop.shop_id, order_id=order_id, **(values | changes)))


def add_sync(view: View, state: SyncState, ago: timedelta, **changes: Any) -> None:
    at = view.now - ago
    view.session.add(
        SyncRun(
            shop_id=view.shop.shop_id,
            kind=SyncKind.INCREMENTAL,
            state=state,
            started_at=at - timedelta(seconds=12),
            finished_at=None if state is SyncState.RUNNING else at,
            **changes,
        )
    )


def add_flow(view: View, *, is_active: bool = True) -> int:
    flow = Automation(
        shop_id=view.shop.shop_id,
        key="welcome",
        name="Welcome",
        is_active=is_active,
        switched_on_at=view.now - timedelta(days=2),
    )
    view.session.add(flow)
    view.session.flush()
    view.session.add(
        AutomationVersion(
            shop_id=view.shop.shop_id, automation_id=flow.automation_id, version=1, definition={}
        )
    )
    view.session.flush()
    return flow.automation_id


def add_message(view: View, flow: int, key: str, state: MessageState, **changes: Any) -> None:
    values = {
        "customer_id": 1,
        "email": "c1@example.com",
        "subject": "Thank you",
        "due_at": view.now,
        "expires_at": view.now + timedelta(days=3),
        "queued_at": view.now - timedelta(minutes=5),
    }
    view.session.add(
        Message(
            shop_id=view.shop.shop_id,
            dedupe_key=key,
            automation_id=flow,
            version=1,
            step_key="mail",
            state=state,
            **(values | changes),
        )
    )


def status(view: View) -> StatusPart:
    view.session.flush()
    return status_part(view)


def figures(view: View) -> FiguresPart:
    view.session.flush()
    return figures_part(view)


def messages(view: View) -> MessagesPart:
    view.session.flush()
    return messages_part(view)


def titles(view: View) -> list[str]:
    return [alert.title for alert in status(view).alerts]


# ---------------------------------------------------------------- freshness and alerts


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


def test_lines_that_could_not_be_read_are_counted(view: View) -> None:
    add_sync(view, SyncState.COMPLETED, timedelta(minutes=3), lines_rejected=2)
    assert status(view).syncs[0].rejected == "2 lines could not be read"


def add_rfm_run(view: View, key: str, state: GateState, ago: timedelta) -> None:
    view.session.add(
        RfmRun(
            shop_id=view.shop.shop_id,
            rfm_run_id=key,
            state=state,
            held_reason="Orders fell by 24 %." if state is GateState.HELD else None,
            customer_count=10,
            buyer_count=10,
            order_count=10,
            computed_at=view.now - ago,
            decided_at=view.now - ago,
        )
    )


def test_scores_held_back_alert_until_a_later_run_is_accepted(view: View) -> None:
    add_rfm_run(view, "1", GateState.ACCEPTED, timedelta(hours=3))
    add_rfm_run(view, "2", GateState.HELD, timedelta(hours=2))
    assert titles(view) == ["New scores are held back"]
    assert status(view).alerts[0].text.startswith("Orders fell by 24 %. Nobody")
    add_rfm_run(view, "3", GateState.ACCEPTED, timedelta(hours=1))
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
            next_at=view.real_now,
            paused_until=view.real_now + timedelta(hours=1),
            paused_reason="The domain is not verified",
        )
    )
    shown = status(view)
    assert shown.alerts[0].title == "The mail provider refuses mail"
    assert shown.alerts[0].text.startswith("The domain is not verified. Mail waits")


def test_a_shop_without_sender_or_old_orders_is_told(view: View) -> None:
    view.shop.postal_address = view.shop.sender_address = None
    view.shop.access_scopes = ["read_orders"]
    assert titles(view) == [
        "Shopify shows us only the last 60 days of orders",
        "The shop has no sender address and no postal address",
    ]


# ---------------------------------------------------------------- figures and segments


@pytest.mark.requirement("SHOP-07")
def test_figures_count_what_counts_and_say_their_period(view: View) -> None:
    recent, before = view.now - timedelta(days=3), view.now - timedelta(days=40)
    add_customer(view, 1, created_at=recent)
    add_customer(view, 2, consent_state=ConsentState.NOT_SUBSCRIBED)
    add_customer(view, 3, consent_state=None)
    add_customer(view, 4, email="Gone@Example.com")
    add_customer(view, 5, deleted_at=recent)
    view.session.add(
        Suppression(
            shop_id=view.shop.shop_id,
            email_normalized="gone@example.com",
            reason=SuppressionReason.UNSUBSCRIBED,
            suppressed_at=recent,
        )
    )
    view.session.add(
        CustomerStatistics(
            shop_id=view.shop.shop_id, customer_id=1, order_count=1, first_order_at=recent
        )
    )
    add_order(view, 1, recent)
    add_order(view, 2, before, current_total=Decimal("20.20"))
    add_order(view, 3, recent, is_test=True)
    add_order(view, 4, recent, currency="EUR")
    shown = figures(view)
    assert [(figure.label, figure.value.text, figure.caption) for figure in shown.figures] == [
        ("Customers", "4", "1 new in 30 days"),
        ("Buyers", "1", "1 first order in 30 days"),
        ("Subscribed", "1", "25% of customers · 1 not known yet"),
        ("Orders", "3", "2 in 30 days"),
        ("Revenue, net of refunds", "£30.30", "£10.10 in 30 days"),
    ]
    assert shown.figures[4].trend == "-50%"
    assert shown.note == "Revenue leaves out 1 order not in GBP."


def add_member(view: View, customer_id: int, segment: Segment, **changes: Any) -> None:
    values = {"entered_at": view.shop.baseline_at, "cause": MembershipCause.BASELINE}
    view.session.add(
        SegmentMembership(
            shop_id=view.shop.shop_id,
            customer_id=customer_id,
            segment=segment,
            r_score=3,
            f_score=3,
            m_score=3,
            **(values | changes),
        )
    )


def test_segments_stand_in_their_order_with_count_share_and_change(view: View) -> None:
    yesterday = view.now - timedelta(days=1)
    add_member(view, 1, Segment.LOST)
    add_member(view, 2, Segment.LOST, exited_at=yesterday)
    add_member(view, 2, Segment.NEW, entered_at=yesterday)
    add_member(view, 3, Segment.LOST)
    rows = figures(view).segments
    assert [row.name for row in rows] == [
        "Champions",
        "Loyal",
        "Potential",
        "New",
        "At risk",
        "Hibernating",
        "Lost",
    ]
    lost, new = rows[6], rows[3]
    assert (lost.count, lost.share, lost.width, lost.change) == ("2", "67%", "100.00%", "-1")
    assert (new.count, new.share, new.width, new.change) == ("1", "33%", "50.00%", "+1")
    assert lost.change_hint == "3 a week ago"


def test_in_the_first_week_there_is_nothing_to_compare_with(view: View) -> None:
    view.shop.baseline_at = view.now - timedelta(days=2)
    add_member(view, 1, Segment.NEW)
    assert figures(view).segments[3].change == ""


def test_without_segments_the_page_says_what_they_wait_for(view: View) -> None:
    view.shop.first_sync_completed_at = None
    assert "first sync" in (figures(view).empty or "")
    view.shop.first_sync_completed_at = view.now
    assert "need at least 5 of them; so far there are 0" in (figures(view).empty or "")
    for customer_id in range(1, 6):
        add_customer(view, customer_id)
        view.session.add(
            CustomerStatistics(shop_id=view.shop.shop_id, customer_id=customer_id, order_count=1)
        )
    assert "Nothing is scored yet" in (figures(view).empty or "")
    add_member(view, 1, Segment.NEW)
    assert figures(view).empty is None


# ---------------------------------------------------------------- flow and messages


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


def test_each_message_says_what_became_of_it_and_why(view: View) -> None:
    flow = add_flow(view)
    add_customer(view, 1)
    cases: list[tuple[MessageState, dict[str, Any], str | None]] = [
        (MessageState.DELIVERED, {}, None),
        (
            MessageState.SKIPPED,
            {"skip_reason": SkipReason.NOT_SUBSCRIBED},
            "Not subscribed to marketing mail",
        ),
        (
            MessageState.QUEUED,
            {"defer_reason": DeferReason.STALE_DATA},
            "Waits for fresh data",
        ),
        (MessageState.QUEUED, {"due_at": view.now + timedelta(hours=1)}, "Leaves in 1 h"),
        (MessageState.FAILED, {"failure": "550 no such user"}, "550 no such user"),
        (
            MessageState.UNKNOWN,
            {},
            "The provider did not answer; looked up there before anything is sent again",
        ),
    ]
    for position, (state, changes, _) in enumerate(cases):
        at = view.now - timedelta(minutes=position)
        add_message(view, flow, str(position), state, queued_at=at, **changes)
    shown = messages(view).messages
    assert [row.reason for row in shown] == [reason for _, _, reason in cases]
    assert {row.customer for row in shown} == {"Grace Hopper"}
    assert {row.flow for row in shown} == {"Welcome"}


def test_a_message_of_a_deleted_customer_still_shows(view: View) -> None:
    add_message(view, add_flow(view), "1", MessageState.SENT, email=None, customer_id=None)
    assert messages(view).messages[0].customer == "Deleted customer"


# ---------------------------------------------------------------- the page


def test_the_page_shows_everything_without_scripts(owner: TestClient, shop: Shop) -> None:
    page = owner.get("/", headers=HTML)
    assert page.status_code == 200
    for words in ("Birch", "Never synced", "Welcome flow", "Segments", "No mail yet", EMAIL):
        assert words in page.text


@pytest.mark.parametrize(
    ("part", "words"),
    [("status", "Last syncs"), ("figures", "Segments"), ("messages", "Recent messages")],
)
def test_a_part_is_what_the_page_shows_in_its_place(
    owner: TestClient, shop: Shop, part: str, words: str
) -> None:
    url = f"/overview/{part}?shop={shop.shop_id}"
    page = owner.get("/", headers=HTML).text
    fragment = owner.get(url, headers=HTML | {"hx-request": "true"}).text
    assert f'hx-get="{url}"' in page
    assert words in fragment
    assert "<html" not in fragment
    assert fragment.strip() in page


def test_text_from_shopify_is_escaped(
    owner: TestClient, session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        view = View.at(session, session.merge(shop), clock)
        add_customer(view, 1, first_name="<script>alert(1)</script>", last_name="")
        add_message(view, add_flow(view), "1", MessageState.SENT)
        view.shop.name = "<b>Shop</b>"
    page = owner.get("/", headers=HTML).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>Shop" not in page


def test_somebody_elses_shop_is_not_found(
    owner: TestClient, session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        foreign = make_shop(session, settings, domain="other.myshopify.com").shop_id
    for shop_id in (foreign, 999):
        assert owner.get(f"/?shop={shop_id}", headers=HTML).status_code == 404
        assert owner.get(f"/overview/messages?shop={shop_id}").status_code == 404
    assert owner.get("/overview/secrets").status_code == 404


def test_an_owner_of_two_shops_switches_between_them(
    owner: TestClient, session_factory: SessionFactory, settings: Settings, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        second = make_shop(session, settings, domain="clay.myshopify.com").shop_id
        accounts.create_owner(session, shop_id=second, email=EMAIL, password=PASSWORD, clock=clock)
    assert f'href="/?shop={second}"' in owner.get("/", headers=HTML).text
    assert "<title>Clay" in owner.get(f"/?shop={second}", headers=HTML).text


def test_somebody_without_a_shop_is_told(
    owner: TestClient, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.execute(delete(ShopMember))
    assert "No shop yet" in owner.get("/", headers=HTML).text


def test_the_page_tells_the_shops_time(
    owner: TestClient, session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        mine = session.merge(shop)
        mine.is_sandbox, mine.clock_offset = True, timedelta(days=2)
        view = View.at(session, mine, clock)
        assert view.now == clock.now() + timedelta(days=2)
        add_sync(view, SyncState.COMPLETED, timedelta(minutes=3))
    assert "Synced 3 min ago" in owner.get("/", headers=HTML).text


def test_before_the_first_sync_nothing_is_called_zero(view: View) -> None:
    view.shop.first_sync_completed_at = None
    assert {figure.value for figure in figures(view).figures} == {None}
