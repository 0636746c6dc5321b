"""How fast, and whether at all; in real time.

The provider counts requests in hard seconds without a burst, and counts them for its account (a
*team*), however many shops send under one key. So slots are handed out one by one (GCRA) from one
row per team, to all processes: whoever reserves pushes `next_at` on by one interval and sleeps
until its own slot. There is one line of slots, so the pace is never exceeded.

Batches may reserve only slots that are near. A single or test mail takes the next one whatever it
is, so it overtakes all batches that have no slot yet and waits for little more than half a second;
`SINGLE_SHARE` of all slots may go so, lest such mails keep batches from leaving. What is not used
of the share is the batches'.

A pause is the shop's, with its reason, which merchants are shown. A quota that is used up pauses
the team, and with it each of its shops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.provider import Provider
from core.database import SessionFactory, session_scope
from core.settings import Settings

NEAR: Final = timedelta(milliseconds=500)  # slots further off are left to single mails
SINGLE_SHARE: Final = 2 / 9  # of the pace
LONGEST_WAIT: Final = 5.0  # seconds a worker waits for a slot; beyond it the batch is let go
A_MOMENT: Final = 0.1  # seconds that eligibility may be looked at before the last of a few calls
MOST_AT_ONCE: Final = 8
SINGLE_PATIENCE: Final = 20.0  # seconds
SHORTEST_WAIT: Final = 0.01
AFTER_MIDNIGHT: Final = timedelta(seconds=5)  # clocks disagree

RESERVE = text("""
-- Returns seconds until the first of the reserved slots; no row when none is near or the team is
-- unknown. Changes crm.send_teams: so many slots further. Primary key.
UPDATE crm.send_teams
SET next_at = greatest(next_at, clock_timestamp()) + :interval
WHERE team = :team AND next_at <= clock_timestamp() + :near
RETURNING extract(EPOCH FROM next_at - :interval - clock_timestamp()) AS wait_seconds
""")

RESERVE_SINGLE = text("""
-- Returns seconds until the reserved slot; no row when the share of single mails is used up for now
-- or the team is unknown or paused. Changes crm.send_teams: one slot further. Primary key.
UPDATE crm.send_teams
SET
    next_at = greatest(next_at, clock_timestamp()) + :interval,
    single_next_at = greatest(single_next_at, clock_timestamp()) + :single_interval
WHERE
    team = :team
    AND single_next_at <= clock_timestamp()
    AND coalesce(paused_until <= clock_timestamp(), true)
RETURNING extract(EPOCH FROM next_at - :interval - clock_timestamp()) AS wait_seconds
""")

READ_TEAM = text("""
-- Returns seconds until the next slot, until the next of the share of single mails, and whether a
-- quota is used up. Changes nothing. Primary key.
SELECT
    extract(EPOCH FROM next_at - clock_timestamp()) AS wait_seconds,
    extract(EPOCH FROM single_next_at - clock_timestamp()) AS single_wait_seconds,
    coalesce(paused_until > clock_timestamp(), false) AS is_paused
FROM crm.send_teams
WHERE team = :team
""")

ADD_TEAM = text("""
-- Changes crm.send_teams: a team that never sent. Primary key.
INSERT INTO crm.send_teams (team, next_at, single_next_at)
VALUES (:team, clock_timestamp(), clock_timestamp())
ON CONFLICT (team) DO NOTHING
""")

SLOW_DOWN = text("""
-- Changes crm.send_teams: no slot before `delay` from now. Primary key.
UPDATE crm.send_teams
SET next_at = greatest(next_at, clock_timestamp() + :delay)
WHERE team = :team
""")

PAUSE_TEAM = text("""
-- Changes crm.send_teams: no slot before `until`, with the reason. Primary key.
UPDATE crm.send_teams
SET next_at = greatest(next_at, :until), paused_until = :until, paused_reason = :reason
WHERE team = :team
""")

PAUSE = text("""
-- Changes crm.send_paces: nothing leaves for `delay` from now, with the reason; a pause is never
-- shortened, and of two the longer one says why. Primary key.
INSERT INTO crm.send_paces AS pace (shop_id, paused_until, paused_reason)
VALUES (:shop_id, clock_timestamp() + :delay, :reason)
ON CONFLICT (shop_id) DO UPDATE
    SET paused_until = excluded.paused_until, paused_reason = excluded.paused_reason
    WHERE coalesce(pace.paused_until <= excluded.paused_until, true)
""")

SHARE_PAUSE = text("""
-- Changes crm.send_paces: the pause of its team, if there is one, is the shop's. Primary keys.
INSERT INTO crm.send_paces AS pace (shop_id, paused_until, paused_reason)
SELECT :shop_id, teams.paused_until, teams.paused_reason
FROM crm.send_teams AS teams
WHERE teams.team = :team AND teams.paused_until > clock_timestamp()
ON CONFLICT (shop_id) DO UPDATE
    SET paused_until = excluded.paused_until, paused_reason = excluded.paused_reason
    WHERE coalesce(pace.paused_until < excluded.paused_until, true)
""")

READ_PAUSE = text("""
-- Returns seconds until the shop's pause ends, if it is paused. Changes nothing. Primary key.
SELECT extract(EPOCH FROM paused_until - clock_timestamp()) AS seconds
FROM crm.send_paces
WHERE shop_id = :shop_id AND paused_until > clock_timestamp()
""")

END_PAUSE = text("""
-- Returns the reason, if the shop was paused. Changes crm.send_paces. Primary key.
WITH paused AS (
    SELECT shop_id, paused_reason
    FROM crm.send_paces
    WHERE shop_id = :shop_id AND paused_until > clock_timestamp()
    FOR UPDATE
)

UPDATE crm.send_paces
SET paused_until = NULL, paused_reason = NULL
FROM paused
WHERE send_paces.shop_id = paused.shop_id
RETURNING paused.paused_reason
""")

END_TEAM_PAUSE = text("""
-- Changes crm.send_teams: slots from now on. Primary key.
UPDATE crm.send_teams
SET next_at = clock_timestamp(), paused_until = NULL, paused_reason = NULL
WHERE team = :team AND paused_until > clock_timestamp()
""")

WAKE_MESSAGES = text("""
-- Changes crm.messages: what waited for the end of the pause is looked at now.
-- Index ix_messages__queue.
UPDATE crm.messages
SET due_at = least(due_at, :now)
WHERE shop_id = :shop_id AND state = 'queued' AND defer_reason = 'provider_paused'
""")

WAKE_BATCHES = text("""
-- Changes crm.message_batches: what was let go until the end of the pause may be taken up now.
-- Index ix_message_batches__open.
UPDATE crm.message_batches
SET lease_until = clock_timestamp(), next_attempt_at = clock_timestamp()
WHERE shop_id = :shop_id AND state = 'open' AND next_attempt_at > clock_timestamp()
""")


@dataclass(frozen=True)
class Pace:
    """Whose limit counts, and how many requests a second we make of it."""

    team: str
    per_second: float

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=1 / self.per_second)

    @property
    def batches_at_once(self) -> int:
        """How many batches a worker may take together: so many as leave in a moment."""
        return max(1, min(MOST_AT_ONCE, int(self.per_second * A_MOMENT)))

    @property
    def single_interval(self) -> timedelta:
        return self.interval / SINGLE_SHARE


def pace_of(settings: Settings, provider: Provider) -> Pace:
    return Pace(provider.team, settings.send_requests_per_second)


@dataclass(frozen=True)
class Slot:
    """`wait` seconds until this slot; not `reserved`: until it is worth asking again."""

    wait: float
    reserved: bool = True


def reserve(session: Session, pace: Pace, *, count: int = 1) -> Slot:
    """Slots for one batch or a few, an interval apart, if the first is near. The row stays locked
    until the commit.
    """
    values = {"team": pace.team, "interval": count * pace.interval, "near": NEAR}
    row = session.execute(RESERVE, values).one_or_none()
    if row is None:
        known = session.execute(READ_TEAM, {"team": pace.team}).one_or_none()
        if known is not None and known.wait_seconds > NEAR.total_seconds():
            return Slot(float(known.wait_seconds) - NEAR.total_seconds(), reserved=False)
        session.execute(ADD_TEAM, {"team": pace.team})
        row = session.execute(RESERVE, values).one_or_none()
    return Slot(0.0, reserved=False) if row is None else Slot(max(0.0, float(row.wait_seconds)))


def reserve_single(session: Session, pace: Pace) -> Slot | None:
    """A slot for one mail that a person waits for, or a look-up; None while the team is paused."""
    session.execute(ADD_TEAM, {"team": pace.team})
    row = session.execute(
        RESERVE_SINGLE,
        {
            "team": pace.team,
            "interval": pace.interval,
            "single_interval": pace.single_interval,
        },
    ).one_or_none()
    if row is not None:
        return Slot(max(0.0, float(row.wait_seconds)))
    known = session.execute(READ_TEAM, {"team": pace.team}).one()
    if known.is_paused:
        return None
    return Slot(max(0.0, float(known.single_wait_seconds)), reserved=False)


def wait_for_single(
    factory: SessionFactory,
    pace: Pace,
    *,
    sleep: Callable[[float], None],
    patience: float = SINGLE_PATIENCE,
) -> bool:
    """Sleep until a single or test mail, or a look-up, may go; False: not now, because a quota is
    used up or too many of them wait already. `patience` in seconds.
    """
    while patience >= 0:
        with session_scope(factory) as session:
            slot = reserve_single(session, pace)
        if slot is None:
            return False
        sleep(slot.wait)
        if slot.reserved:
            return True
        patience -= max(slot.wait, SHORTEST_WAIT)
    return False


def slow_down(session: Session, pace: Pace, *, delay: timedelta) -> None:
    """The provider says that we are too fast: nothing more for `delay`."""
    session.execute(ADD_TEAM, {"team": pace.team})
    session.execute(SLOW_DOWN, {"team": pace.team, "delay": delay})


def pause(session: Session, shop_id: int, *, delay: timedelta, reason: str) -> None:
    """The reason is shown to the merchant beside every waiting message."""
    session.execute(PAUSE, {"shop_id": shop_id, "delay": delay, "reason": reason})


def pause_team(session: Session, pace: Pace, *, until: datetime, reason: str) -> None:
    """Nothing leaves under this key before `until` (real time)."""
    session.execute(ADD_TEAM, {"team": pace.team})
    session.execute(PAUSE_TEAM, {"team": pace.team, "until": until, "reason": reason})


def share_pause(session: Session, shop_id: int, pace: Pace) -> None:
    """Make a pause of the team the shop's own, so that its messages wait and its merchant knows."""
    session.execute(SHARE_PAUSE, {"shop_id": shop_id, "team": pace.team})


def paused_for(session: Session, shop_id: int) -> timedelta | None:
    """How long the shop is still paused; None: it is not."""
    seconds = session.execute(READ_PAUSE, {"shop_id": shop_id}).scalar_one_or_none()
    return None if seconds is None else timedelta(seconds=float(seconds))


def resume(session: Session, shop_id: int, *, now: datetime, team: str | None = None) -> str | None:
    """End the pause at once and wake what waits for it; returns its reason, None: no pause.

    `now` is business time. With `team` its pause ends too; its other shops wake on their own.
    """
    reason: str | None = session.execute(END_PAUSE, {"shop_id": shop_id}).scalar_one_or_none()
    if team is not None:
        session.execute(END_TEAM_PAUSE, {"team": team})
    session.execute(WAKE_MESSAGES, {"shop_id": shop_id, "now": now})
    session.execute(WAKE_BATCHES, {"shop_id": shop_id})
    return reason


def next_utc_midnight(now: datetime) -> datetime:
    """When a daily quota begins anew."""
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time.min, UTC) + AFTER_MIDNIGHT
