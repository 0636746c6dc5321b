"""How fast, and whether at all: one row per shop, in real time.

The provider counts requests in hard seconds without a burst, so slots are handed out one by one
(GCRA): whoever reserves pushes `next_at` on by one interval and sleeps until its own slot.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

REQUESTS_PER_SECOND: Final = 9  # the limit is 10; the tenth covers clocks that disagree
INTERVAL: Final = timedelta(seconds=1) / REQUESTS_PER_SECOND
LONGEST_WAIT: Final = 5.0  # seconds a worker sleeps for a slot; beyond it the batch is let go

RESERVE = text("""
-- Returns seconds until the reserved slot, and seconds until the pause ends if there is one.
-- Changes crm.send_paces: one slot further. Primary key.
INSERT INTO crm.send_paces AS pace (shop_id, next_at)
VALUES (:shop_id, clock_timestamp() + :interval)
ON CONFLICT (shop_id) DO UPDATE
    SET next_at = greatest(pace.next_at, clock_timestamp()) + :interval
RETURNING
    extract(EPOCH FROM pace.next_at - :interval - clock_timestamp()) AS wait_seconds,
    extract(EPOCH FROM pace.paused_until - clock_timestamp()) AS paused_seconds
""")

SLOW_DOWN = text("""
-- Changes crm.send_paces: no slot before `delay` from now. Primary key.
INSERT INTO crm.send_paces AS pace (shop_id, next_at)
VALUES (:shop_id, clock_timestamp() + :delay)
ON CONFLICT (shop_id) DO UPDATE
    SET next_at = greatest(pace.next_at, clock_timestamp() + :delay)
""")

PAUSE = text("""
-- Changes crm.send_paces: nothing leaves for `delay` from now, with the reason. Primary key.
INSERT INTO crm.send_paces AS pace (shop_id, next_at, paused_until, paused_reason)
VALUES (:shop_id, clock_timestamp(), clock_timestamp() + :delay, :reason)
ON CONFLICT (shop_id) DO UPDATE
    SET
        paused_until = greatest(pace.paused_until, clock_timestamp() + :delay),
        paused_reason = :reason
""")


@dataclass(frozen=True)
class Slot:
    """Seconds to sleep before the call; `paused` seconds if nothing may be called at all."""

    wait: float
    paused: float | None


def reserve(session: Session, shop_id: int) -> Slot:
    """One slot for one request."""
    row = session.execute(RESERVE, {"shop_id": shop_id, "interval": INTERVAL}).one()
    paused = None if row.paused_seconds is None else float(row.paused_seconds)
    return Slot(
        wait=max(0.0, float(row.wait_seconds)),
        paused=paused if paused is not None and paused > 0 else None,
    )


def slow_down(session: Session, shop_id: int, *, delay: timedelta) -> None:
    session.execute(SLOW_DOWN, {"shop_id": shop_id, "delay": delay})


def pause(session: Session, shop_id: int, *, delay: timedelta, reason: str) -> None:
    """The reason is shown to the merchant beside every waiting message."""
    session.execute(PAUSE, {"shop_id": shop_id, "delay": delay, "reason": reason})
