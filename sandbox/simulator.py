"""The order simulator: a believable shop, while a rate is set for it.

One thread. What happens next depends on the seed and on how much happened so far, both kept in the
store, so a restart goes on where it stopped. What happens is in simulated_life.py.
"""

import json
import logging
import math
import random
import sqlite3
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.http import BadRequestError
from sandbox.open_shop import open_shop, shop_row
from sandbox.shopkeeper import Shop
from sandbox.simulated_life import OCCASIONS_PER_ORDER, live
from sandbox.world import World

logger = logging.getLogger(__name__)
HOUR = 3600.0
LONGEST_SLEEP = 1.0
MAX_RATE = 36_000.0
# What was missed while the machine slept does not happen all at once.
MOST_BEHIND = 5.0
# Share of the day's orders in each hour of the shop's day, as an average of one.
_BY_HOUR = (
    *(0.25, 0.15, 0.1, 0.1, 0.1, 0.2, 0.4, 0.7, 1.0, 1.2, 1.3, 1.4),
    *(1.4, 1.3, 1.2, 1.2, 1.3, 1.4, 1.6, 2.0, 2.2, 1.9, 1.3, 0.6),
)
_MEAN = sum(_BY_HOUR) / len(_BY_HOUR)
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a shop is played. None: by the knob `simulator_orders_per_hour`."""

    orders_per_hour: float | None = None
    seed: int = 1
    business_hours: bool = False


class Simulator:
    """Started and stopped with the sandbox; idle while no shop has a rate."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: dict[str, float] = {}
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """To be called when a rate was changed."""
        self._woken.set()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    # ------------------------------------------------------------------ settings and counters

    def set(self, domain: str, pace: Pace) -> Body:
        """Plays the shop at this pace from now on. Raises Missing, BadRequestError."""
        if pace.orders_per_hour is not None and pace.orders_per_hour > MAX_RATE:
            raise BadRequestError(f"orders_per_hour must be at most {MAX_RATE:.0f}")
        with self._world.store.write() as db:
            shop = shop_row(db, domain)["shop"]
            db.execute(
                "insert or replace into settings (name, value) values (?, ?)",
                [_setting(shop), json.dumps(asdict(pace))],
            )
        self.wake()
        return self.report(domain)

    def change_rate(self, domain: str, orders_per_hour: float) -> Body:
        """Another rate, the rest of the pace as it is. Raises Missing, BadRequestError."""
        with self._world.store.read() as db:
            pace = _pace(db, shop_row(db, domain)["shop"])
        return self.set(domain, replace(pace, orders_per_hour=orders_per_hour))

    def report(self, domain: str) -> Body:
        """The pace as it is, and how often each thing happened. Raises Missing."""
        with self._world.store.read() as db:
            shop = shop_row(db, domain)["shop"]
            return {
                **asdict(_pace(db, shop)),
                "orders_per_hour": self._rate(db, shop),
                "happened": happened(db, shop),
            }

    def _rate(self, db: sqlite3.Connection, shop: int) -> float:
        own = _pace(db, shop).orders_per_hour
        return float(self._world.faults["simulator_orders_per_hour"] if own is None else own)

    # ------------------------------------------------------------------ playing

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self.play_due()
            except Exception:  # a bug must not end the simulator: it tries again a second later
                logger.exception("the simulator stumbled")
                self._due.clear()
            self._woken.wait(self._pause())

    def _pause(self) -> float:
        now = self._world.clock.now()
        return max(0.0, min([LONGEST_SLEEP, *(due - now for due in self._due.values())]))

    def play_due(self) -> int:
        """Lets everything happen that is due by now; how much it was."""
        played = 0
        for domain, per_second in self._rates().items():
            now = self._world.clock.now()
            # The first is not due at once, or a restart would be an order.
            due = self._due.setdefault(domain, now + _wait(random.Random(), per_second))
            due = max(due, now - MOST_BEHIND)
            while due <= now and not self._stopping.is_set():
                due += _wait(self.play(domain), per_second)
                played += 1
            # A new rate counts from now on: the wait of an old one may have been hours.
            self._due[domain] = min(due, now + 20 / per_second)
        return played

    def _rates(self) -> dict[str, float]:
        """Occasions a second, of the shops that are played now."""
        now = self._world.clock.now()
        with self._world.store.read() as db:
            rows = db.execute("select shop, domain, time_zone from shops order by shop").fetchall()
            rates = {row["domain"]: self._occasions(db, row, now) for row in rows}
        self._due = {domain: due for domain, due in self._due.items() if rates.get(domain)}
        return {domain: rate for domain, rate in rates.items() if rate}

    def _occasions(self, db: sqlite3.Connection, row: sqlite3.Row, now: float) -> float:
        weight = weight_at(now, row["time_zone"]) if _pace(db, row["shop"]).business_hours else 1.0
        return self._rate(db, row["shop"]) * weight * OCCASIONS_PER_ORDER / HOUR

    def play(self, domain: str) -> random.Random:
        """One occasion in the shop; the random numbers that were not used for it."""
        with open_shop(self._world, domain) as shop:
            return play_one(shop)


def play_one(shop: Shop) -> random.Random:
    """The next occasion of the shop's seed, within the caller's transaction."""
    seed = _pace(shop.db, shop.num).seed
    rng = random.Random(f"{seed}:{sum(happened(shop.db, shop.num).values())}")
    shop.db.execute(
        "insert into simulated (shop, what, times) values (?, ?, 1)"
        " on conflict (shop, what) do update set times = times + 1",
        [shop.num, live(shop, rng)],
    )
    return rng


def happened(db: sqlite3.Connection, shop: int) -> dict[str, int]:
    rows = db.execute("select what, times from simulated where shop = ? order by what", [shop])
    return dict(rows.fetchall())


def weight_at(now: float, zone: str) -> float:
    """How busy the hour is in the shop's day; one on average."""
    hour = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(zone)).hour
    return _BY_HOUR[hour] / _MEAN


def _wait(rng: random.Random, per_second: float) -> float:
    """Seconds to the next occasion: they come by chance, not by the clock."""
    return -math.log(1.0 - rng.random()) / per_second


def _setting(shop: int) -> str:
    return f"simulator.{shop}"


def _pace(db: sqlite3.Connection, shop: int) -> Pace:
    row = db.execute("select value from settings where name = ?", [_setting(shop)]).fetchone()
    return Pace() if row is None else Pace(**json.loads(row["value"]))
