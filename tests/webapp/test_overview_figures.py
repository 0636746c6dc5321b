from datetime import timedelta
from decimal import Decimal

import pytest

from core.models import (
    CustomerStatistics,
    Suppression,
)
from core.models.enums import (
    ConsentState,
    Segment,
    SuppressionReason,
)
from tests.webapp.builders import add_customer, add_member, add_order, figures
from webapp.overview import View


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


def test_before_the_first_sync_nothing_is_called_zero(view: View) -> None:
    view.shop.first_sync_completed_at = None
    assert {figure.value for figure in figures(view).figures} == {None}
