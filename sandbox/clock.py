"""Time as the sandbox sees it, and the three ways in which the vendors write it."""

import time
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """Seconds since 1970, UTC."""

    def now(self) -> float: ...


class SystemClock:
    def now(self) -> float:
        return time.time()


class ManualClock:
    """Stands still until it is moved; for tests of expiry."""

    def __init__(self, start: float) -> None:
        self.seconds = start

    def now(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


def utc_z(seconds: float) -> str:
    """`2026-01-31T12:00:00Z`, as in Shopify's GraphQL answers: whole seconds, cut off."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_millis(seconds: float) -> str:
    """`2026-01-31T12:00:00.123Z`, as in Resend's events."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def utc_nanos(seconds: float) -> str:
    """`2026-01-31T12:00:00.123456789Z`, as in `X-Shopify-Triggered-At`."""
    nanos = round(seconds * 1_000_000) * 1_000 + 741
    whole = datetime.fromtimestamp(nanos // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{nanos % 1_000_000_000:09d}Z"


def postgres_stamp(seconds: float) -> str:
    """`2026-01-31 12:00:00.123456+00`, as in Resend's REST answers."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def in_zone(stamp: str, zone: str) -> str:
    """A UTC stamp with the shop's own offset, as in Shopify's webhook bodies."""
    return datetime.fromisoformat(stamp).astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")


def epoch(stamp: str) -> float:
    """Seconds since 1970 of an ISO 8601 stamp with an offset or `Z`.

    Raises ValueError for anything else, a stamp without an offset included.
    """
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        raise ValueError(f"a time without an offset: {stamp!r}")
    return moment.timestamp()
