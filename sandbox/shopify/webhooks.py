"""Webhooks out: to the subscriptions of a topic, signed, with all of Shopify's headers."""

import base64
import hashlib
import hmac
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from sandbox.clock import utc_nanos
from sandbox.outbox import SHOPIFY, Delivery, enqueue

# The topics that something in the sandbox can set off.
TOPICS = {
    "ORDERS_CREATE": "orders/create",
    "ORDERS_UPDATED": "orders/updated",
    "ORDERS_PAID": "orders/paid",
    "ORDERS_CANCELLED": "orders/cancelled",
    "REFUNDS_CREATE": "refunds/create",
    "CUSTOMERS_CREATE": "customers/create",
    "CUSTOMERS_UPDATE": "customers/update",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE": "customers_email_marketing_consent/update",
    "BULK_OPERATIONS_FINISH": "bulk_operations/finish",
}


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
    body, event_id, first = orjson.dumps(payload), str(uuid.uuid4()), None
    for row in rows:
        webhook_id = str(uuid.uuid4())
        first = first or webhook_id
        for due in at or (now,):
            delivery = Delivery(
                channel=SHOPIFY,
                url=row["uri"],
                topic=topic,
                message_id=webhook_id,
                body=body,
                at=due,
                headers=_headers(
                    domain=shop["domain"],
                    topic=topic,
                    webhook_id=webhook_id,
                    event_id=event_id,
                    version=version,
                    now=now,
                ),
                shop=shop["shop"],
                order_num=order_num,
                subscription=row["num"],
            )
            enqueue(db, delivery, now=now)
    return first


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
