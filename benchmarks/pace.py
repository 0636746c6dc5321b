"""The provider's limit kept, and used: sending under a pace, at a provider that takes its time.

value: requests a second from the first to the last, as they came to the stand-in; floor: the pace
that is set, nine of the ten that the provider allows. `most_in_a_second`: of any second that its
clock shows; `over_limit_seconds`: how many of them had more than it allows. Two processes of two
threads share one line of slots; each request is answered after a third of a second.

ECOMCRM_BENCH_QUICK=1 takes ten seconds instead of two minutes.
"""

import os
from collections import Counter
from typing import Final

from benchmarks.delivery import measure
from benchmarks.delivery_processes import stand_in
from benchmarks.ingest import _database as database

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
MESSAGES = 9_000 if IS_QUICK else 100_000
PACE: Final = 9.0
LIMIT: Final = 10
LATENCY: Final = 0.33


def run() -> dict[str, object]:
    """Requests per second over one run."""
    with database() as (url, _), stand_in(latency=LATENCY) as address:
        told = measure(url, address, MESSAGES, number=1, per_second=PACE, threads=2)
    times = sorted(told["times"])
    value = (len(times) - 1) / (times[-1] - times[0])
    seconds = Counter(int(at) for at in times)
    return {
        "n": MESSAGES,
        "repeats": 1,
        "value": round(value, 3),
        "unit": "requests/s",
        "requests": len(times),
        "most_in_a_second": max(seconds.values()),
        "over_limit_seconds": sum(came > LIMIT for came in seconds.values()),
        "sent_twice_or_lost": told["wrong"],
        "mib": round(told["mib"]),
        "floor": PACE,
        "ratio": round(value / PACE, 4),
        "peer": None,
        "peer_ratio": None,
    }
