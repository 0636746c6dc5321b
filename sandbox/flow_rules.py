"""The five flows as they are published, and how many customers are held out: the oracle's own copy.

Nothing here is read from the product. What a shop changes in its flows, the caller tells.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from zlib import crc32
from zoneinfo import ZoneInfo

HOUR, DAY = 3600.0, 86_400.0
FOREVER = float("inf")
QUIET_FROM, QUIET_UNTIL = 21, 8
SPREAD = 1800.0  # over so many seconds of the morning leaves what waited for it
CAPS = ((1, 20 * HOUR), (4, 7 * DAY))
HELD_OUT_PERCENT = 5


@dataclass(frozen=True, kw_only=True)
class Flow:
    """`kind`: first_order, checkout, silence or entered. `again`: seconds between two entries of
    one customer; FOREVER is once. The lower the priority's number, the sooner its turn.
    """

    key: str
    kind: str
    delay: float = 0.0
    late: float
    priority: int
    is_quiet: bool = False
    again: float = 0.0
    days: int = 0
    segments: frozenset[str] = field(default_factory=frozenset)


FLOWS = (
    Flow(
        key="abandoned_cart", kind="checkout", delay=2 * HOUR, late=DAY, priority=1, again=7 * DAY
    ),
    Flow(key="welcome", kind="first_order", delay=HOUR, late=3 * DAY, priority=2, again=FOREVER),
    Flow(
        key="vip",
        kind="entered",
        late=7 * DAY,
        priority=3,
        is_quiet=True,
        again=FOREVER,
        segments=frozenset({"champion"}),
    ),
    Flow(
        key="win_back",
        kind="silence",
        late=14 * DAY,
        priority=4,
        is_quiet=True,
        again=180 * DAY,
        days=90,
        segments=frozenset({"at_risk", "hibernating"}),
    ),
    Flow(
        key="repurchase",
        kind="silence",
        late=14 * DAY,
        priority=5,
        is_quiet=True,
        days=30,
        segments=frozenset({"loyal", "new"}),
    ),
)


def is_held_out(domain: str, flow: str, customer: int) -> bool:
    number = int.from_bytes(sha256(f"{domain}/{flow}/{customer}".encode()).digest()[:4], "big")
    return number % 100 < HELD_OUT_PERCENT


def is_quiet(at: float, zone: ZoneInfo) -> bool:
    hour = datetime.fromtimestamp(at, UTC).astimezone(zone).hour
    return hour >= QUIET_FROM or hour < QUIET_UNTIL


def quiet_is_over(at: float, zone: ZoneInfo) -> float:
    """The next eight o'clock on the shop's wall after `at`."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    day = local.date() + timedelta(days=1 if local.hour >= QUIET_UNTIL else 0)
    return datetime(day.year, day.month, day.day, QUIET_UNTIL, tzinfo=zone).timestamp()


def spread(address: str) -> float:
    """How long after the end of the quiet hours an address has its turn."""
    return SPREAD * crc32(address.encode()) / 2**32


def days_later(at: float, days: int, zone: ZoneInfo) -> float:
    """The same time on the wall so many days later."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return (local + timedelta(days=days)).timestamp()
