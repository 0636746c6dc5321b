"""Shopify's leaky bucket of points, as far as its answers let us know it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_PER_QUERY: Final = 1000.0  # no query may ask for more (shopify.md §3)


@dataclass(frozen=True)
class Sized:
    """What a document asked for when it named so many objects."""

    cost: float
    size: int


@dataclass(frozen=True)
class Reservation:
    """Points of a call, and the seconds until the bucket should hold them."""

    points: float
    seconds: float


class CostBucket:
    """Says how long to wait before a call can be paid for. Safe to use from several threads.

    Keeps what the last answer said of the bucket and what each document asked for. A call holds
    its points from `reserve` to `release`, so that two at once do not both take the
    last of them. Other users of the same app take from the same bucket, so a THROTTLED answer is
    still possible.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._available = 0.0
        self._maximum = 0.0
        self._rate = 0.0
        self._seen_at = 0.0
        self._costs: dict[str, Sized] = {}
        self._held = 0.0

    def reserve(self, document: str, size: int = 0) -> Reservation:
        """Take the points of a call that names `size` objects; give them back with `release`.

        Nothing is waited for while nothing is known of the bucket.
        """
        with self._lock:
            if not self._rate:
                return Reservation(0.0, 0.0)
            points = self._cost(document, size)
            restored = (self._monotonic() - self._seen_at) * self._rate
            available = min(self._maximum, self._available + restored) - self._held
            self._held += points
            return Reservation(points, max(0.0, (points - available) / self._rate))

    def release(self, reservation: Reservation) -> None:
        """Once the call is answered, and what it really took has been learnt."""
        with self._lock:
            self._held -= reservation.points

    def _cost(self, document: str, size: int) -> float:
        """What the call will ask for: as last time, more for more objects.

        Of a document that was never sent, the most there is.
        """
        known = self._costs.get(document)
        if known is None:
            cost = MOST_PER_QUERY
        elif size > known.size:
            cost = known.cost * size / max(known.size, 1)
        else:
            cost = known.cost
        return min(cost, MOST_PER_QUERY, self._maximum)

    def learn(self, document: str, answer: Mapping[str, Any], size: int = 0) -> None:
        """Take the `extensions.cost` of an answer; one without it changes nothing."""
        try:
            cost = answer["extensions"]["cost"]
            status = cost["throttleStatus"]
            available = float(status["currentlyAvailable"])
            maximum = float(status["maximumAvailable"])
            rate = float(status["restoreRate"])
            requested = float(cost["requestedQueryCost"])
        except (KeyError, TypeError, ValueError):
            return
        with self._lock:
            self._available, self._maximum, self._rate = available, maximum, rate
            self._seen_at = self._monotonic()
            self._costs[document] = Sized(requested, size)
