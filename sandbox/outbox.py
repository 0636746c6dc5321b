"""What the sandbox has to deliver by HTTP: rows that outlive the process (Shopify's webhooks and
Resend's events alike).
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHOPIFY = "shopify"
RESEND = "resend"

# Waits before each retry, in the vendors' own seconds; the knob retry_scale shortens them.
RETRY_WAITS: dict[str, Sequence[float]] = {
    SHOPIFY: (60, 120, 240, 480, 900, 1800, 3600, 7200),  # 8 retries over 4 h
    RESEND: (0, 5, 300, 1800, 7200, 18000, 36000, 36000),
}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message to one address. `at` is when it is first due, seconds since 1970."""

    channel: str
    url: str
    topic: str
    message_id: str
    body: bytes
    at: float
    headers: Mapping[str, str] = field(default_factory=dict)
    shop: int | None = None
    order_num: int | None = None
    subscription: int | None = None


def enqueue(db: sqlite3.Connection, delivery: Delivery, *, now: float) -> None:
    db.execute(
        """insert into deliveries (channel, url, topic, message_id, shop, order_num, subscription,
                                   headers, body, created_at, next_at)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [
            delivery.channel,
            delivery.url,
            delivery.topic,
            delivery.message_id,
            delivery.shop,
            delivery.order_num,
            delivery.subscription,
            json.dumps(dict(delivery.headers)),
            delivery.body,
            now,
            delivery.at,
        ],
    )
