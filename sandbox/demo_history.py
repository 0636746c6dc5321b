"""Who buys at the made-up shop, and when: people, and the moments of their orders.

Buying follows the usual model of repeat purchase: each customer has a rate of their own (gamma)
and, after each order, a chance of never coming back of their own (beta). Time runs faster in
busy weeks, so season and weekday shape first and repeat orders alike.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sandbox.demo_people import ORIGINS, address
from sandbox.shop_folder import bucket, consent_of, gid

HISTORY_DAYS = 730

_FIRST_CUSTOMER = 7_310_200_000_001
_CUSTOMER_STEP = 312
_MONTHS = (0.80, 0.82, 0.95, 1.0, 1.08, 0.95, 0.82, 0.84, 1.0, 1.1, 1.35, 1.5)
_WEEKDAYS = (1.08, 1.0, 0.98, 1.02, 0.92, 0.84, 1.2)
# Orders per local hour, from midnight: a lunch hump, and the evening on the sofa.
_HOURS = (2, 1, 0, 0, 0, 1, 2, 4, 6, 7, 7, 8, 10, 9, 7, 7, 7, 8, 10, 13, 16, 16, 12, 6)
_HOURS_SUM = tuple(accumulate(_HOURS))

_SHARE_WITHOUT_ORDER = 0.08
_SHARE_WITHOUT_EMAIL = 0.012
_SHARE_WITH_PHONE = 0.12
_GUESTS_PER_CUSTOMER = 0.09
_GROWTH_FROM, _GROWTH_TO = 0.6, 1.6


@dataclass(slots=True)
class Person:
    """A customer; times are Unix seconds, `taste` multiplies what they spend."""

    number: int
    first: str
    last: str
    locale: str
    email: str | None
    phone: str | None
    consent: str
    consent_at: int
    created: int
    updated: int
    tags: tuple[str, ...]
    taste: float


class Purchase(NamedTuple):
    """An order to be: when, whose (index of the person, None for a guest), their how-manieth."""

    at: int
    person: int | None
    nth: int


class Calendar:
    """The local days of the history and how busy each is; `end` itself is not among them."""

    def __init__(self, end: date, zone: ZoneInfo) -> None:
        self._zone = zone
        self._days = [end - timedelta(days=n) for n in range(HISTORY_DAYS, 0, -1)]
        busy = [_busyness(day) for day in self._days]
        mean = sum(busy) / len(busy)
        self._busy = list(accumulate(weight / mean for weight in busy))
        slope = (_GROWTH_TO - _GROWTH_FROM) / HISTORY_DAYS
        self._arrivals = list(
            accumulate(weight * (_GROWTH_FROM + slope * n) for n, weight in enumerate(busy))
        )
        self.limit = int(datetime.combine(end, time(), UTC).timestamp())

    def arrival(self, rng: random.Random) -> int:
        """The index of a day on which somebody comes for the first time."""
        return bisect_right(self._arrivals, rng.random() * self._arrivals[-1])

    def later(self, day: int, busy_days: float) -> int | None:
        """The day so many days of average business after `day`; None when that is not over."""
        place = bisect_right(self._busy, self._busy[day] + busy_days)
        return place if place < len(self._days) else None

    def moment(self, day: int, rng: random.Random) -> int:
        """Unix seconds of some time on that local day, before the limit."""
        hour = bisect_right(_HOURS_SUM, rng.random() * _HOURS_SUM[-1])
        clock = time(hour, rng.randrange(60), rng.randrange(60))
        at = datetime.combine(self._days[day], clock, self._zone)
        return min(int(at.timestamp()), self.limit - 1)


def _busyness(day: date) -> float:
    season = _MONTHS[day.month - 1] * _WEEKDAYS[day.weekday()]
    black_friday = (day.month, day.day) >= (11, 22) and (day.month, day.day) <= (11, 30)
    after_christmas_post = day.month == 12 and day.day > 20  # noqa: PLR2004 - the day it closes
    if black_friday:
        return season * 1.7
    return season * 0.45 if after_christmas_post else season


def people_and_purchases(
    count: int, *, seed: int, calendar: Calendar
) -> tuple[list[Person], list[Purchase]]:
    """`count` customers by creation, and all purchases by time, guests' among them."""
    rng = random.Random(f"history:{seed}")
    lives = sorted((_life(rng, calendar) for _ in range(count)), key=lambda life: life.created)
    people = [_person(index, life, rng, calendar) for index, life in enumerate(lives)]
    purchases = [
        Purchase(at, index, nth)
        for index, life in enumerate(lives)
        for nth, at in enumerate(life.orders, start=1)
    ]
    purchases.extend(_guest_purchases(round(count * _GUESTS_PER_CUSTOMER), rng, calendar))
    purchases.sort(key=lambda purchase: (purchase.at, purchase.person or 0, purchase.nth))
    return people, purchases


class _Life(NamedTuple):
    created: int
    orders: list[int]


def _life(rng: random.Random, calendar: Calendar) -> _Life:
    """When somebody first gave their name, and when they bought."""
    first_day = calendar.arrival(rng)
    if rng.random() < _SHARE_WITHOUT_ORDER:
        return _Life(calendar.moment(first_day, rng), [])
    orders = sorted(calendar.moment(day, rng) for day in _order_days(first_day, rng, calendar))
    looked_before = rng.random() < 0.2  # noqa: PLR2004 - signed up for news, bought later
    days_before = rng.expovariate(1 / 20) if looked_before else 0.0
    created = orders[0] - int(days_before * 86_400)
    opening = calendar.limit - HISTORY_DAYS * 86_400
    return _Life(created if created >= opening else orders[0], orders)


def _order_days(first_day: int, rng: random.Random, calendar: Calendar) -> Iterator[int]:
    days_between = 1 / max(rng.gammavariate(1.5, 1 / 105), 1 / 900)
    chance_of_leaving = rng.betavariate(0.8, 1.15)
    day: int | None = first_day
    while day is not None:
        yield day
        if rng.random() < chance_of_leaving:
            return
        day = calendar.later(day, rng.expovariate(1 / days_between))


def _guest_purchases(count: int, rng: random.Random, calendar: Calendar) -> Iterator[Purchase]:
    for _ in range(count):
        yield Purchase(calendar.moment(calendar.arrival(rng), rng), None, 1)


def _person(index: int, life: _Life, rng: random.Random, calendar: Calendar) -> Person:
    origin = rng.choices(ORIGINS, [origin.weight for origin in ORIGINS])[0]
    first, last = rng.choice(origin.first), rng.choice(origin.last)
    number = _FIRST_CUSTOMER + index * _CUSTOMER_STEP
    trade = origin is ORIGINS[-1]
    reachable = rng.random() >= _SHARE_WITHOUT_EMAIL
    consent, consent_at = _consent(number, life, rng, calendar)
    with_phone = not reachable or rng.random() < _SHARE_WITH_PHONE
    last_seen = life.orders[-1] if life.orders else life.created
    return Person(
        number=number,
        first=first,
        last=last,
        locale=origin.locale,
        email=address(first, last, index + 1) if reachable else None,
        # Ofcom keeps 07700 900000-900999 free for fiction.
        phone=f"+447700900{index % 1000:03d}" if with_phone else None,
        consent=consent,
        consent_at=consent_at,
        created=life.created,
        updated=max(last_seen, consent_at) + 2,
        tags=_tags(rng, trade=trade, consent=consent),
        taste=math.exp(rng.gauss(1.0 if trade else 0.0, 0.35)),
    )


def _consent(number: int, life: _Life, rng: random.Random, calendar: Calendar) -> tuple[str, int]:
    """The shared 60/30/10, of which some subscribers have left again since."""
    key = gid("Customer", number)
    state = consent_of(key)
    if state == "SUBSCRIBED" and bucket(f"left:{key}") < 4:  # noqa: PLR2004 - 4 % of them
        return "UNSUBSCRIBED", rng.randrange(life.created, calendar.limit - 2)
    return state, life.created


def _tags(rng: random.Random, *, trade: bool, consent: str) -> tuple[str, ...]:
    tags = []
    if trade:
        tags.append("B2B/Trade")
    if consent == "SUBSCRIBED" and rng.random() < 0.5:  # noqa: PLR2004 - those by the footer form
        tags.append("newsletter")
    if rng.random() < 0.03:  # noqa: PLR2004 - a few
        tags.append("Friends & Family")
    return tuple(tags)
