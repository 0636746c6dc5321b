"""Requests per second: a hard window, no burst."""

import math
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """Where the caller stands in the present window."""

    allowed: bool
    headers: dict[str, str]


class RateLimit:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window, self._used = -1, 0

    def count(self, *, limit: int, now: float) -> Standing:
        """Counts one request; refused ones do not use the window up further."""
        window = math.floor(now)
        with self._lock:
            if window != self._window:
                self._window, self._used = window, 0
            allowed = self._used < limit
            self._used += allowed
            left = limit - self._used
        headers = {
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(left),
            "ratelimit-reset": "1",
        }
        return Standing(allowed, headers if allowed else headers | {"retry-after": "1"})
