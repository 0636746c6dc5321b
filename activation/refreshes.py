"""Asking Shopify for customers whose consent a mail is waiting for."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from activation.eligibility import Decision, Defer
from core.ingestion import refresh
from core.models.enums import ObjectType


def request_refreshes(
    session: Session,
    shop_id: int,
    customer_ids: Sequence[int | None],
    decisions: Sequence[Decision],
    *,
    now: datetime,
) -> int:
    """Request every customer whose decision needs it; returns how many."""
    wanted = {
        customer_id
        for customer_id, decision in zip(customer_ids, decisions, strict=True)
        if customer_id is not None and isinstance(decision, Defer) and decision.needs_refresh
    }
    if wanted:
        refresh.request(session, shop_id, ObjectType.CUSTOMER, sorted(wanted), "consent", at=now)
    return len(wanted)
