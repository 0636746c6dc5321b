"""Asking for objects to be read from Shopify; core/ingestion/refresh.py reads them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.ingestion.statements import statement
from core.models.enums import ObjectType


def request(
    session: Session,
    shop_id: int,
    object_type: ObjectType,
    ids: Sequence[int],
    reason: str,
    *,
    at: datetime,
) -> None:
    """Ask for objects to be read, once the caller's transaction commits."""
    if ids:
        session.execute(
            statement("request_refresh"),
            {
                "shop_id": shop_id,
                "object_type": object_type.value,
                "object_ids": list(ids),
                "reason": reason,
                "at": at,
            },
        )
