"""`webhookSubscription…`: which webhooks go where. Plain http is taken for loopback addresses."""

import sqlite3
from typing import Any
from urllib.parse import urlsplit

from sandbox.clock import utc_z
from sandbox.shapes import gid
from sandbox.shopify.errors import not_in_sandbox
from sandbox.shopify.objects import parse_gid
from sandbox.shopify.webhooks import TOPICS
from sandbox.store import Store

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
Body = dict[str, Any]
_ENUM = {topic: name for name, topic in TOPICS.items()}
MISSING = {"field": ["id"], "message": "Webhook subscription does not exist"}


class Subscriptions:
    """The subscriptions of one shop, as one request sees them."""

    def __init__(self, store: Store, shop: sqlite3.Row, *, version: str, now: float) -> None:
        self._store, self._shop, self._version, self._now = store, shop, version, now

    def all(self, *, topics: list[str] | None, uri: str | None) -> list[Body]:
        with self._store.read() as db:
            rows = db.execute(
                "select * from subscriptions where shop = ? order by num", [self._shop["shop"]]
            ).fetchall()
        views = [self._view(row) for row in rows]
        return [
            v for v in views if (not topics or v["topic"] in topics) and uri in (None, v["uri"])
        ]

    def create(self, topic: str, wanted: Body) -> Body:
        if topic not in TOPICS:
            raise not_in_sandbox(f"webhooks of the topic {topic}")
        uri, errors = _address(wanted)
        if errors:
            return {"webhookSubscription": None, "userErrors": errors}
        try:
            with self._store.write() as db:
                row = db.execute(
                    "insert into subscriptions (shop, topic, uri, created_at, updated_at)"
                    " values (?, ?, ?, ?, ?) returning *",
                    [self._shop["shop"], TOPICS[topic], uri, self._now, self._now],
                ).fetchone()
        except sqlite3.IntegrityError:
            taken = _error("Address for this topic has already been taken")
            return {"webhookSubscription": None, "userErrors": [taken]}
        return {"webhookSubscription": self._view(row), "userErrors": []}

    def update(self, id_: str, wanted: Body) -> Body:
        uri, errors = _address(wanted)
        if errors:
            return {"webhookSubscription": None, "userErrors": errors}
        with self._store.write() as db:
            row = db.execute(
                "update or ignore subscriptions set uri = ?, updated_at = ?"
                " where shop = ? and num = ? returning *",
                [uri, self._now, self._shop["shop"], parse_gid(id_)[1]],
            ).fetchone()
        if row is None:
            return {"webhookSubscription": None, "userErrors": [MISSING]}
        return {"webhookSubscription": self._view(row), "userErrors": []}

    def delete(self, id_: str) -> Body:
        with self._store.write() as db:
            gone = db.execute(
                "delete from subscriptions where shop = ? and num = ?",
                [self._shop["shop"], parse_gid(id_)[1]],
            ).rowcount
        if not gone:
            return {"deletedWebhookSubscriptionId": None, "userErrors": [MISSING]}
        return {"deletedWebhookSubscriptionId": id_, "userErrors": []}

    def _view(self, row: sqlite3.Row) -> Body:
        handle = self._version
        return {
            "__typename": "WebhookSubscription",
            "id": gid("WebhookSubscription", row["num"]),
            "legacyResourceId": str(row["num"]),
            "topic": _ENUM[row["topic"]],
            "uri": row["uri"],
            "callbackUrl": row["uri"],
            "endpoint": {"__typename": "WebhookHttpEndpoint", "callbackUrl": row["uri"]},
            "format": "JSON",
            "includeFields": [],
            "metafieldNamespaces": [],
            "filter": None,
            "name": None,
            "apiVersion": {"handle": handle, "displayName": handle, "supported": True},
            "createdAt": utc_z(row["created_at"]),
            "updatedAt": utc_z(row["updated_at"]),
        }


def _address(wanted: Body) -> tuple[str, list[Body]]:
    """(the uri, user errors)."""
    for name in ("includeFields", "filter", "metafields", "metafieldNamespaces", "name"):
        if wanted.get(name):
            raise not_in_sandbox(f"webhook subscriptions with {name}")
    if wanted.get("format") == "XML":
        raise not_in_sandbox("webhooks in XML")
    uri = wanted.get("uri") or wanted.get("callbackUrl") or ""
    if not uri:
        return "", [_error("Address can't be blank")]
    parts = urlsplit(uri)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return uri, []
    return "", [_error("Address protocol http:// is not supported")]


def _error(message: str) -> Body:
    return {"field": ["webhookSubscription", "callbackUrl"], "message": message}
