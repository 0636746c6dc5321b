"""Webhook subscriptions: what Shopify tells us of, where, and what it cannot tell us.

Shopify deletes a subscription whose address failed eight times in a row, so they are looked at
again every hour. The three compliance topics are not here: Shopify takes them only from the
app's own configuration (docs/shopify.md).
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import update

from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, PermanentError
from core.granted import keep_scopes
from core.models import Shop
from core.shopify.client import ShopifyClient
from core.shopify.documents import load

WEBHOOK_PATH: Final = "/webhooks/shopify"
WEBHOOK_TOPICS: Final = (
    "ORDERS_CREATE",
    "ORDERS_UPDATED",
    "ORDERS_PAID",
    "ORDERS_CANCELLED",
    "ORDERS_EDITED",
    "ORDERS_DELETE",
    "REFUNDS_CREATE",
    "CUSTOMERS_CREATE",
    "CUSTOMERS_UPDATE",
    "CUSTOMERS_DELETE",
    "CUSTOMERS_MERGE",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE",
    "CUSTOMER_TAGS_ADDED",
    "CUSTOMER_TAGS_REMOVED",
    "CHECKOUTS_CREATE",
    "CHECKOUTS_UPDATE",
    "CHECKOUTS_DELETE",
    "BULK_OPERATIONS_FINISH",
    "APP_UNINSTALLED",
)
NOT_HTTPS: Final = (
    "ECOMCRM_PUBLIC_URL is not https, so Shopify sends no webhooks: changes arrive with the "
    "nightly sync only."
)


@dataclass(frozen=True)
class Subscriptions:
    """How the subscriptions of one shop stand after they were put right."""

    subscribed: tuple[str, ...]
    created: int = 0
    deleted: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Topic → Shopify's reason."""

    @property
    def problem(self) -> str | None:
        """For the merchant; None when every topic is subscribed."""
        if not self.refused:
            return None
        by_reason = defaultdict(list)
        for topic, reason in self.refused.items():
            by_reason[reason].append(topic)
        said = " ".join(
            f"{', '.join(topics)} ({reason.rstrip('.')})." for reason, topics in by_reason.items()
        )
        return (
            f"Shopify does not tell us of: {said} Such changes arrive with the nightly sync only. "
            "Grant the app what is missing; it is tried again every hour."
        )


def receiver_address(public_url: str, *, is_sandbox: bool = False) -> str | None:
    """Where Shopify is to send webhooks; None where it would not: it takes https only."""
    can_receive = is_sandbox or public_url.startswith("https://")
    return f"{public_url}{WEBHOOK_PATH}" if can_receive else None


def register_webhooks(client: ShopifyClient, address: str) -> Subscriptions:
    """Have every topic we use sent to `address`, each once; repeating it changes nothing.

    Deletes subscriptions that point to this host and are not among those: the installation moved
    to another port or path, a topic is not used any more, or there are two. Those of other hosts
    belong to somebody else. A topic that Shopify refuses stops no other.
    Raises TransientError when Shopify does not answer, PermanentError when it will not say what
    is subscribed.
    """
    present: set[str] = set()
    deleted = 0
    for node in client.execute(load("webhook_subscriptions"))["webhookSubscriptions"]["nodes"]:
        topic = node["topic"]
        if node["uri"] == address and topic in WEBHOOK_TOPICS and topic not in present:
            present.add(topic)
        elif _host(node["uri"]) == _host(address):
            _unsubscribe(client, node["id"])
            deleted += 1
    refused = {
        topic: reason
        for topic in WEBHOOK_TOPICS
        if topic not in present and (reason := _subscribe(client, topic, address))
    }
    subscribed = tuple(topic for topic in WEBHOOK_TOPICS if topic not in refused)
    return Subscriptions(subscribed, len(subscribed) - len(present), deleted, refused)


def check_subscriptions(
    factory: SessionFactory,
    client: ShopifyClient,
    *,
    shop_id: int,
    address: str | None,
    now: datetime,
) -> Subscriptions:
    """Put the subscriptions of a shop right and keep what is wrong with them, and what we may read.

    `now` is real time. Without an address nothing is subscribed, and the problem says why.
    Whatever Shopify raises is kept in words too, then raised.
    """
    try:
        scopes = granted_scopes(client.execute(load("shop")))
        found = register_webhooks(client, address) if address else Subscriptions(())
    except EcomCRMError as error:
        _keep(factory, shop_id, now=now, problem=f"Webhooks could not be checked: {error}")
        raise
    problem = found.problem if address else NOT_HTTPS
    _keep(factory, shop_id, now=now, problem=problem, scopes=scopes)
    return found


def granted_scopes(answer: dict[str, Any]) -> list[str]:
    """What the app may read, of the answer to the document `shop`."""
    installation = answer["currentAppInstallation"] or {"accessScopes": []}
    return sorted(scope["handle"] for scope in installation["accessScopes"])


def _keep(
    factory: SessionFactory,
    shop_id: int,
    *,
    now: datetime,
    problem: str | None,
    scopes: list[str] | None = None,
) -> None:
    values = {"webhooks_checked_at": now, "webhooks_problem": problem}
    with session_scope(factory) as session:
        session.execute(update(Shop).where(Shop.shop_id == shop_id).values(values))
        if scopes is not None:
            keep_scopes(session, shop_id, scopes)


def _subscribe(client: ShopifyClient, topic: str, address: str) -> str | None:
    """Shopify's reason when it refuses the topic."""
    variables = {"topic": topic, "webhookSubscription": {"uri": address, "format": "JSON"}}
    try:
        answer = client.execute(load("webhook_subscription_create"), variables)
    except PermanentError as error:  # a scope that is missing is one of the query, not of the user
        return str(error)
    errors = answer["webhookSubscriptionCreate"]["userErrors"]
    said = "; ".join(error["message"] for error in errors)
    # One that the app's own configuration holds is not in the list.
    return said if errors and "already been taken" not in said else None


def _unsubscribe(client: ShopifyClient, subscription_id: str) -> None:
    """One that is gone meanwhile is fine too: the user errors are not looked at."""
    client.execute(load("webhook_subscription_delete"), {"id": subscription_id})


def _host(address: str) -> str | None:
    """The name in an address, or None: it may be a queue (arn:…, pubsub://…)."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
