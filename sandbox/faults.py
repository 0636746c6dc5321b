"""The knobs that make the sandbox misbehave on purpose. Kept in the store: a restart keeps them."""

import json
import re
import sqlite3
import threading
from typing import Any

from sandbox.shopify.scopes import SCOPES, listed
from sandbox.store import Store

DEFAULTS: dict[str, Any] = {
    # Resend: the API
    "resend_status": 503,
    "resend_times": 0,
    "resend_error_name": "",
    "resend_daily_quota": 0,
    "resend_html_502_times": 0,
    "resend_accept_then_502_times": 0,
    "resend_accept_then_drop_times": 0,
    "resend_accept_then_timeout_times": 0,
    "resend_timeout_seconds": 60.0,
    "resend_latency_seconds": 0.0,
    "resend_rate_per_second": 10,
    # Resend: the events
    "resend_event_delay_seconds": 0.2,
    "resend_event_copies": 1,
    "resend_event_shuffle_seconds": 0.0,
    "resend_events_off": False,
    # Shopify: the Admin API
    "shopify_status": 503,
    "shopify_times": 0,
    "shopify_throttle_times": 0,
    "shopify_latency_seconds": 0.0,
    "shopify_bucket_size": 2000,
    "shopify_restore_rate": 100,
    "shopify_token_seconds": 86399,
    "shopify_revoke_token_times": 0,
    "shopify_served_version": "",
    "shopify_missing_scopes": "",
    "shopify_search_warning_times": 0,
    # Shopify: bulk operations
    "bulk_line_order": "interleaved",
    "bulk_running_polls": 1,
    "bulk_hold": False,
    "bulk_fail_times": 0,
    "bulk_partial_times": 0,
    "bulk_timeout_times": 0,
    "bulk_cancel_times": 0,
    "bulk_expire_times": 0,
    "bulk_null_url_times": 0,
    "bulk_strangers": 0,
    "bulk_malformed_lines": 0,
    "bulk_corrupt_lines": 0,
    "bulk_drop_download_times": 0,
    "bulk_truncate_times": 0,
    "bulk_expire_url_times": 0,
    # Shopify: jobs that make discount codes
    "discount_running_polls": 1,
    "discount_taken_codes": 0,
    # Shopify, its webhooks
    "webhook_off": False,
    "webhook_lose_times": 0,
    "webhook_copies": 1,
    "webhook_delay_seconds": 0.0,
    "webhook_shuffle_seconds": 0.0,
    # the shopkeeper's own doing, in shops that were not given a rate of their own
    "simulator_orders_per_hour": 0.0,
    # deliveries of either
    "retry_scale": 1 / 60,
}
MOST_COPIES = 10
LINE_ORDERS = ("after_parent", "interleaved", "shuffled")


class UnknownKnobError(ValueError):
    """A knob that does not exist, or a value of the wrong kind."""


class Faults:
    """Current values by name; `take` counts a `…_times` knob down."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        with store.read() as db:
            rows = db.execute("select name, value from settings where name like 'fault.%'")
            kept = {name.removeprefix("fault."): json.loads(value) for name, value in rows}
        self._values = DEFAULTS | {name: kept[name] for name in kept if name in DEFAULTS}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def all(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._values)

    def changed(self) -> dict[str, Any]:
        """The knobs that are not as they are by default."""
        return {name: v for name, v in self.all().items() if v != DEFAULTS[name]}

    def set(self, changes: dict[str, Any]) -> dict[str, Any]:
        """All values after the change. Raises UnknownKnobError and then changes nothing."""
        for name, value in changes.items():
            _check(name, value)
        with self._lock:
            self._keep(changes)
            return dict(self._values)

    def reset(self) -> dict[str, Any]:
        return self.set(DEFAULTS)

    def take(self, name: str) -> bool:
        """True, and one fewer left, while the knob `name` is above zero."""
        if self._values[name] <= 0:
            return False
        with self._lock:
            left = self._values[name]
            if left > 0:
                self._keep({name: left - 1})
            return bool(left > 0)

    def _keep(self, changes: dict[str, Any]) -> None:
        with self._store.write() as db:
            db.executemany(
                "insert or replace into settings (name, value) values (?, ?)",
                [(f"fault.{name}", json.dumps(value)) for name, value in changes.items()],
            )
        self._values |= changes


def stored_knob(db: sqlite3.Connection, name: str) -> Any:
    """The knob as it stands in the store, for code that has a transaction and no Faults."""
    row = db.execute("select value from settings where name = ?", [f"fault.{name}"]).fetchone()
    return DEFAULTS[name] if row is None else json.loads(row["value"])


def _check(name: str, value: Any) -> None:
    if name not in DEFAULTS:
        raise UnknownKnobError(f"no such knob: {name}. Knobs: {', '.join(sorted(DEFAULTS))}")
    wrong = _wrong(name, DEFAULTS[name], value)
    if wrong:
        raise UnknownKnobError(f"{name} must be {wrong}")


def _wrong(name: str, default: Any, value: Any) -> str | None:
    """What the value would have to be; None when it is."""
    if name == "bulk_line_order":
        return None if value in LINE_ORDERS else f"one of {', '.join(LINE_ORDERS)}"
    if isinstance(default, str):
        return _wrong_text(name, value)
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return "a number, not below zero"
    if isinstance(default, int) and not isinstance(value, int):
        return "a whole number"
    is_copies = name == "webhook_copies" and not 1 <= value <= MOST_COPIES
    return f"1 to {MOST_COPIES}" if is_copies else None


def _wrong_text(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return "a text"
    if name == "shopify_missing_scopes" and not listed(value) <= set(SCOPES):
        return f"some of {', '.join(SCOPES)}, with commas"
    if name == "shopify_served_version" and not re.fullmatch(r"(\d{4}-\d{2})?", value):
        return "a version such as 2026-01, or empty"
    return None
