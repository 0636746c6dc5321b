"""Whether a shop's segments are held, and why: one place, read by whatever changes memberships.

Held means that nobody's segment changes: not by a full run, not by an order. It ends when a full
run passes the gate, or when a person accepts what was found (acceptance.py).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from activation.gate import Finding, Swing
from core.models import Shop
from core.models.enums import GateCheck

READ_SWING = text("""
-- Returns how many open memberships there are and how many the view now says otherwise.
-- Changes nothing. Reads all of the shop: index uq_segment_memberships__one_open.
SELECT
    count(*) AS members,
    count(*) FILTER (WHERE memberships.segment <> segments.segment) AS moved
FROM crm.segment_memberships AS memberships
INNER JOIN marts.customer_segments AS segments
    ON
        memberships.shop_id = segments.shop_id
        AND memberships.customer_id = segments.customer_id
WHERE memberships.shop_id = :shop_id AND memberships.exited_at IS NULL
""")


_REPAIR: Final = (
    "`ecomcrm segments repair` computes the statistics anew from the orders and says what was "
    "wrong; `ecomcrm rfm` then scores again. Each night does both by itself."
)
_LOOK: Final = "Check the data in Shopify, then sync again; or accept it, if it is right."


@dataclass(frozen=True)
class Hold:
    """`rfm_run_id` None: orders that came together are held, and no full run has been since.

    `check` None: held by a release that did not keep which check it was.
    """

    held_at: datetime
    check: GateCheck | None
    reason: str
    rfm_run_id: str | None

    @property
    def doubts_orders(self) -> bool:
        """Whether the orders themselves are in doubt, so that no flow may start by them either.

        A swing of a full run is not: its orders came one by one, and none of them is missing.
        """
        return self.check is not GateCheck.SEGMENTS_SWING

    @property
    def advice(self) -> str:
        return advice(self.check)


def advice(check: GateCheck | None) -> str:
    """What to do about a hold, in words for whoever runs the shop."""
    return _REPAIR if check is GateCheck.STATISTICS_DIFFER else _LOOK


def lock_shop(session: Session, shop_id: int) -> None:
    """Until commit, no other transaction changes this shop's memberships or its hold."""
    key = func.hashtext("ecomcrm memberships")
    session.execute(select(func.pg_advisory_xact_lock(key, shop_id)))


def read_hold(session: Session, shop_id: int) -> Hold | None:
    row = session.execute(
        select(
            Shop.segments_held_at,
            Shop.segments_held_check,
            Shop.segments_held_reason,
            Shop.segments_held_run_id,
        ).where(Shop.shop_id == shop_id)
    ).one()
    if row.segments_held_at is None:
        return None
    return Hold(
        row.segments_held_at,
        row.segments_held_check,
        row.segments_held_reason or "",
        row.segments_held_run_id,
    )


def hold(
    session: Session, shop_id: int, finding: Finding, *, now: datetime, rfm_run_id: str | None
) -> None:
    session.execute(
        update(Shop)
        .where(Shop.shop_id == shop_id)
        .values(
            segments_held_at=now,
            segments_held_check=finding.check,
            segments_held_reason=finding.reason,
            segments_held_run_id=rfm_run_id,
        )
    )


def release(session: Session, shop_id: int) -> None:
    session.execute(
        update(Shop)
        .where(Shop.shop_id == shop_id)
        .values(
            segments_held_at=None,
            segments_held_check=None,
            segments_held_reason=None,
            segments_held_run_id=None,
        )
    )


def read_swing(session: Session, shop_id: int) -> Swing:
    """What memberships would do if they followed the view now."""
    row = session.execute(READ_SWING, {"shop_id": shop_id}).one()
    return Swing(members=row.members, moved=row.moved)
