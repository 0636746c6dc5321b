"""Whether a flow may enrol anybody in a shop, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from activation.automation.triggers import FirstOrder, Trigger
from core.errors import PermanentError
from core.models import Shop
from core.scopes import NEEDED, missing_scopes

ALL_ORDERS: Final = "read_all_orders"


@dataclass(frozen=True)
class ShopState:
    """What enrolment asks of a shop. `activated_at` None: it is not synced yet, or no baseline."""

    domain: str
    zone: str
    access_scopes: Sequence[str]
    activated_at: datetime | None


def read_shop(session: Session, shop_id: int) -> ShopState:
    """Raises PermanentError when there is no such shop."""
    shop = session.get(Shop, shop_id, populate_existing=True)
    if shop is None:
        raise PermanentError(f"There is no shop {shop_id}.")
    is_ready = shop.first_sync_completed_at is not None and shop.baseline_at is not None
    return ShopState(
        domain=shop.domain,
        zone=shop.time_zone,
        access_scopes=tuple(shop.access_scopes),
        activated_at=shop.first_sync_started_at if is_ready else None,
    )


def why_blocked(trigger: Trigger, access_scopes: Sequence[str]) -> str | None:
    """In words, for whoever switches a flow on; None: nothing blocks it.

    While it is not known what Shopify has granted, nothing is blocked.
    """
    blocks = isinstance(trigger, FirstOrder) and bool(access_scopes)
    if not blocks or ALL_ORDERS not in missing_scopes(access_scopes):
        return None
    return (
        f"The app lacks the scope {ALL_ORDERS}: {NEEDED[ALL_ORDERS]}, and somebody who bought long "
        "ago would be welcomed as if they were new. Give the app the scope and sync again."
    )
