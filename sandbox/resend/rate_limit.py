"""Requests per second: a hard window, no burst."""

import math
import threading
from collections import deque
from dataclasses import dataclass

KEPT_SECONDS = 3600


@dataclass(frozen=True)
class Standing:
    """Where the caller stands in the present window."""

    allowed: bool
    headers: dict[str, str]


class RateLimit:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window, self._used = -1, 0
        self._seconds: deque[list[int]] = deque(maxlen=KEPT_SECONDS)

    def seconds(self) -> list[tuple[int, int]]:
        """How many requests came in each second that had any, refused ones included; an hour."""
        with self._lock:
            return [(second, came) for second, came in self._seconds]

    def count(self, *, limit: int, now: float) -> Standing:
        """Counts one request; refused ones do not use the window up further."""
        window = math.floor(now)
        with self._lock:
            if window != self._window:
                self._window, self._used = window, 0
                self._seconds.append([window, 0])
            self._seconds[-1][1] += 1
            allowed = self._used < limit
            self._used += allowed
            left = limit - self._used
        headers = {
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(left),
            "ratelimit-reset": "1",
        }
        return Standing(allowed, headers if allowed else headers | {"retry-after": "1"})
