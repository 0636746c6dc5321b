"""Compliance webhooks become rows in `crm.privacy_requests`; activation does what they ask."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models import PrivacyRequest
from core.models.enums import PrivacyKind, PrivacyState
from core.shopify.rest_events import Subject

DAYS_TO_ACT: Final = timedelta(days=30)


def add_request(
    session: Session,
    shop_id: int,
    *,
    webhook_id: str,
    kind: PrivacyKind,
    subject: Subject | None,
    at: datetime,
) -> None:
    """Once per webhook; due at once. Without a subject it is about the whole shop."""
    whom = None
    if subject is not None:
        whom = {
            "customer_id": subject.customer_id,
            "email": subject.email,
            "phone": subject.phone,
            "order_ids": subject.order_ids,
        }
    session.execute(
        insert(PrivacyRequest)
        .values(
            shop_id=shop_id,
            webhook_id=webhook_id,
            kind=kind,
            state=PrivacyState.PENDING,
            shopify_request_id=subject.request_id if subject else None,
            subject=whom or {},
            requested_at=at,
            due_at=at + DAYS_TO_ACT,
            next_attempt_at=text("clock_timestamp()"),
        )
        .on_conflict_do_nothing(index_elements=["shop_id", "webhook_id"])
    )
