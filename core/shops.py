"""Shops: connecting one, finding it, its client, its clock, its webhooks."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import Clock, OffsetClock
from core.errors import PermanentError
from core.ingestion import statistics
from core.models import Shop
from core.secrets import SecretBox
from core.settings import Settings
from core.shopify import gid
from core.shopify.client import ShopifyClient
from core.shopify.documents import load

WEBHOOK_TOPICS: Final = (
    "ORDERS_CREATE",
    "ORDERS_UPDATED",
    "ORDERS_CANCELLED",
    "ORDERS_PAID",
    "REFUNDS_CREATE",
    "CUSTOMERS_CREATE",
    "CUSTOMERS_UPDATE",
)


def connect_shop(
    session: Session,
    client: ShopifyClient,
    *,
    settings: Settings,
    is_sandbox: bool,
    clock: Clock,
) -> Shop:
    """Ask Shopify who this is and what the app may read, and keep it; connecting again updates.

    The client secret is stored encrypted; after a change the former one stays valid for webhooks.
    When the shop's currency has changed, everybody's statistics are computed anew.
    Raises PermanentError when the credentials belong to another shop.
    """
    answer = client.execute(load("shop"))
    about = answer["shop"]
    if about["myshopifyDomain"] != client.domain:
        raise PermanentError(
            f"These credentials belong to {about['myshopifyDomain']}, not to {client.domain}: "
            "check SHOPIFY_SHOP."
        )
    shop = shop_by_domain(session, client.domain)
    if shop is None:
        shop = Shop(domain=client.domain, is_sandbox=is_sandbox, created_at=clock.now())
        session.add(shop)
    is_other_currency = shop.currency not in (None, about["currencyCode"])
    shop.shopify_id = gid.number(about["id"], "Shop")
    shop.name = about["name"]
    shop.currency = about["currencyCode"]
    shop.time_zone = about["ianaTimezone"]
    shop.access_scopes = _scopes(answer)
    shop.client_id = client.client_id
    _keep_secret(shop, client.client_secret.get_secret_value(), SecretBox(settings.secret_key))
    session.flush()
    if is_other_currency:
        statistics.recompute_all(
            session, shop.shop_id, touched_at=business_clock(shop, clock).now()
        )
    return shop


def _scopes(answer: dict[str, Any]) -> list[str]:
    installation = answer["currentAppInstallation"] or {"accessScopes": []}
    return sorted(scope["handle"] for scope in installation["accessScopes"])


def _keep_secret(shop: Shop, secret: str, box: SecretBox) -> None:
    former = shop.client_secret_encrypted
    if former and box.decrypt(former) == secret:
        return
    shop.previous_client_secret_encrypted = former
    shop.client_secret_encrypted = box.encrypt(secret)


def shop_by_domain(session: Session, domain: str) -> Shop | None:
    return session.scalars(select(Shop).where(Shop.domain == domain)).one_or_none()


def all_shops(session: Session) -> list[Shop]:
    return list(session.scalars(select(Shop).order_by(Shop.shop_id)))


def client_for(shop: Shop, settings: Settings) -> ShopifyClient:
    """A client with the shop's own credentials; close it, or use it as a context."""
    secret = SecretBox(settings.secret_key).decrypt(shop.client_secret_encrypted)
    return ShopifyClient(
        domain=shop.domain,
        client_id=shop.client_id,
        client_secret=secret,
        base_url=settings.shopify_base_url,
        api_version=settings.shopify_api_version,
    )


def business_clock(shop: Shop, base: Clock) -> Clock:
    """The shop's time: `base`, moved in a demo or a test."""
    return OffsetClock(base, shop.clock_offset) if shop.clock_offset else base


def register_webhooks(client: ShopifyClient, address: str) -> list[str]:
    """Have every topic we use sent to `address`; returns the topics that are now subscribed.

    Repeating it creates only what is missing. Raises PermanentError when Shopify refuses.
    """
    present = {
        node["topic"]
        for node in client.execute(load("webhook_subscriptions"))["webhookSubscriptions"]["nodes"]
        if node["uri"] == address
    }
    for topic in WEBHOOK_TOPICS:
        if topic not in present:
            _subscribe(client, topic, address)
    return list(WEBHOOK_TOPICS)


def _subscribe(client: ShopifyClient, topic: str, address: str) -> None:
    answer = client.execute(
        load("webhook_subscription_create"),
        {"topic": topic, "webhookSubscription": {"uri": address, "format": "JSON"}},
    )
    errors = answer["webhookSubscriptionCreate"]["userErrors"]
    said = "; ".join(error["message"] for error in errors)
    if errors and "already been taken" not in said:
        raise PermanentError(f"Shopify does not subscribe to {topic}: {said}")
