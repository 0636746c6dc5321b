"""Webhooks out: to the subscriptions of a topic, signed, with all of Shopify's headers."""

import base64
import hashlib
import hmac
import random
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from sandbox.clock import utc_nanos
from sandbox.faults import stored_knob
from sandbox.outbox import SHOPIFY, Delivery, enqueue

# The topics that something in the sandbox can set off, by their name in GraphQL.
TOPICS = {
    "ORDERS_CREATE": "orders/create",
    "ORDERS_UPDATED": "orders/updated",
    "ORDERS_PAID": "orders/paid",
    "ORDERS_CANCELLED": "orders/cancelled",
    "ORDERS_EDITED": "orders/edited",
    "ORDERS_DELETE": "orders/delete",
    "REFUNDS_CREATE": "refunds/create",
    "CUSTOMERS_CREATE": "customers/create",
    "CUSTOMERS_UPDATE": "customers/update",
    "CUSTOMERS_DELETE": "customers/delete",
    "CUSTOMERS_MERGE": "customers/merge",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE": "customers_email_marketing_consent/update",
    "CUSTOMER_TAGS_ADDED": "customer.tags_added",
    "CUSTOMER_TAGS_REMOVED": "customer.tags_removed",
    "CHECKOUTS_CREATE": "checkouts/create",
    "CHECKOUTS_UPDATE": "checkouts/update",
    "CHECKOUTS_DELETE": "checkouts/delete",
    "BULK_OPERATIONS_FINISH": "bulk_operations/finish",
    "APP_UNINSTALLED": "app/uninstalled",
}
# Nobody subscribes to these: they go where the app's own configuration says.
COMPLIANCE_TOPICS = ("customers/data_request", "customers/redact", "shop/redact")


def signer(client_secret: str) -> Callable[[str, bytes, float], Mapping[str, str]]:
    """Signs the raw body with the app's client secret, as X-Shopify-Hmac-Sha256."""

    def sign(_message_id: str, body: bytes, _now: float) -> Mapping[str, str]:
        digest = hmac.digest(client_secret.encode(), body, hashlib.sha256)
        return {"X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode()}

    return sign


def announce(
    db: sqlite3.Connection,
    shop: sqlite3.Row,
    topic: str,
    payload: dict[str, Any],
    *,
    version: str,
    now: float,
    order_num: int | None = None,
    at: Sequence[float] = (),
) -> str | None:
    """Queues the payload for every subscription of `topic`; the first one's webhook id.

    `at`: when each copy is due (a repeated delivery has the id of the first); once, now, by
    default. None when nobody subscribed to the topic.
    """
    rows = db.execute(
        "select num, uri from subscriptions where shop = ? and topic = ? order by num",
        [shop["shop"], topic],
    ).fetchall()
    event_id, first = str(uuid.uuid4()), None
    for row in rows:
        message = _message(shop, topic, payload, version=version, now=now, event_id=event_id)
        message = replace(message, url=row["uri"], order_num=order_num, subscription=row["num"])
        first = first or message.message_id
        _enqueue_copies(db, message, at=at or (now,), now=now)
    return first


def announce_compliance(
    db: sqlite3.Connection,
    shop: sqlite3.Row,
    topic: str,
    payload: dict[str, Any],
    *,
    url: str | None,
    version: str,
    now: float,
) -> str | None:
    """Queues one of COMPLIANCE_TOPICS for `url`; its webhook id, None without an address."""
    if url is None:
        return None
    event_id = str(uuid.uuid4())
    message = _message(shop, topic, payload, version=version, now=now, event_id=event_id)
    _enqueue_copies(db, replace(message, url=url), at=(now,), now=now)
    return message.message_id


def _message(
    shop: sqlite3.Row,
    topic: str,
    payload: dict[str, Any],
    *,
    version: str,
    now: float,
    event_id: str,
) -> Delivery:
    """One webhook with an id of its own; it has no address yet."""
    webhook_id = str(uuid.uuid4())
    return Delivery(
        channel=SHOPIFY,
        url="",
        topic=topic,
        message_id=webhook_id,
        body=orjson.dumps(payload),
        at=now,
        headers=_headers(
            domain=shop["domain"],
            topic=topic,
            webhook_id=webhook_id,
            event_id=event_id,
            version=version,
            now=now,
        ),
        shop=shop["shop"],
    )


def _enqueue_copies(
    db: sqlite3.Connection, message: Delivery, *, at: Sequence[float], now: float
) -> None:
    """As often and as late as the knobs say; every copy has the id of the first."""
    copies = int(stored_knob(db, "webhook_copies"))
    late = float(stored_knob(db, "webhook_delay_seconds"))
    apart = float(stored_knob(db, "webhook_shuffle_seconds"))
    for due in at:
        for _ in range(copies):
            enqueue(db, replace(message, at=due + late + random.random() * apart), now=now)


def _headers(
    *, domain: str, topic: str, webhook_id: str, event_id: str, version: str, now: float
) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "Shopify-Captain-Hook",
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": domain,
        "X-Shopify-API-Version": version,
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Event-Id": event_id,
        "X-Shopify-Triggered-At": utc_nanos(now),
    }
