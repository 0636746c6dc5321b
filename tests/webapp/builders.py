"""Rows of one shop, each with what a test does not care about filled in."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from core.models import (
    Automation,
    AutomationVersion,
    Customer,
    Message,
    Order,
    RfmRun,
    SegmentMembership,
    SyncRun,
)
from core.models.enums import (
    ConsentState,
    GateState,
    MembershipCause,
    MessageState,
    Segment,
    SyncKind,
    SyncState,
)
from webapp.contexts import FiguresPart, MessagesPart, StatusPart
from webapp.overview import View, figures_part, messages_part, status_part


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
            state=state,
            started_at=at - timedelta(seconds=12),
            finished_at=None if state is SyncState.RUNNING else at,
            **{"kind": SyncKind.INCREMENTAL, **changes},
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
