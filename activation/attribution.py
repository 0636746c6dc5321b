"""For how long after a click an order is credited to the mail: a setting of the shop.

The credits themselves are made by dbt (dbt_project/models/marts/attribution), which reads it anew
at each build: a change moves past days too, once the reports are built.
"""

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.clock import Clock
from core.errors import PermanentError
from core.models import AuditEntry, Shop
from core.models.enums import AuditAction

SHORTEST: Final = 1
LONGEST: Final = 30  # days; by then a click says little about an order


def read_window(session: Session, shop_id: int) -> int:
    """Days of 24 hours."""
    return session.scalars(select(Shop.attribution_days).where(Shop.shop_id == shop_id)).one()


def change_window(
    session: Session, shop_id: int, days: int, *, clock: Clock, user_id: int | None = None
) -> int:
    """Change it in the caller's transaction; who changed it from what is kept.

    Returns the days in force before. PermanentError for days that make no sense.
    """
    if not SHORTEST <= days <= LONGEST:
        raise PermanentError(
            f"Orders can be credited for {SHORTEST} to {LONGEST} days after a click, not {days}."
        )
    locked = select(Shop.attribution_days).where(Shop.shop_id == shop_id).with_for_update()
    before = session.scalars(locked).one()
    if before == days:
        return before
    session.execute(update(Shop).where(Shop.shop_id == shop_id).values(attribution_days=days))
    session.add(
        AuditEntry(
            shop_id=shop_id,
            acted_at=clock.now(),
            user_id=user_id,
            action=AuditAction.CHANGE_ATTRIBUTION,
            about=None,
            reason="",
            figures={"before": before, "after": days},
        )
    )
    session.flush()
    return before
