"""Shopify's leaky bucket of points, as far as its answers let us know it."""

import time
from collections.abc import Callable, Mapping
from typing import Any


class CostBucket:
    """Says how long to wait before a document can be paid for.

    Keeps what the last answer said of the bucket and what each document last cost. Other users of
    the same app take from the same bucket, so a THROTTLED answer is still possible.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._available = 0.0
        self._maximum = 0.0
        self._rate = 0.0
        self._seen_at = 0.0
        self._costs: dict[str, float] = {}

    def delay(self, document: str) -> float:
        """Seconds until the bucket should hold enough; 0 while nothing is known."""
        cost = min(self._costs.get(document, 0.0), self._maximum)
        if not self._rate or not cost:
            return 0.0
        restored = (self._monotonic() - self._seen_at) * self._rate
        available = min(self._maximum, self._available + restored)
        return max(0.0, (cost - available) / self._rate)

    def learn(self, document: str, answer: Mapping[str, Any]) -> None:
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
        self._available, self._maximum, self._rate = available, maximum, rate
        self._seen_at = self._monotonic()
        self._costs[document] = requested
