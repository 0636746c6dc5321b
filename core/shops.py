"""Shops: connecting one, finding it, its client, its clock."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import Clock, OffsetClock
from core.errors import PermanentError
from core.granted import keep_scopes
from core.ingestion import statistics
from core.models import Shop
from core.secrets import SecretBox
from core.settings import Settings
from core.shopify import gid
from core.shopify.client import ShopifyClient
from core.shopify.documents import load
from core.subscriptions import granted_scopes

# Shopify may sign with the former secret for up to an hour after a rotation. A delivery that it
# signed so and repeats later than this is refused; the next sync reads what it told of.
FORMER_SECRET_SERVES: Final = timedelta(hours=2)


def connect_shop(
    session: Session,
    client: ShopifyClient,
    *,
    settings: Settings,
    is_sandbox: bool,
    clock: Clock,
) -> Shop:
    """Ask Shopify who this is and what the app may read, and keep it; connecting again updates.

    The client secret is stored encrypted; after a change the former one stays valid for webhooks
    for a while. A shop that had removed the app is read and mailed again. When the shop's currency
    has changed, everybody's statistics are computed anew.
    Raises PermanentError when the credentials belong to another shop.
    """
    answer = client.execute(load("shop"))
    about = answer["shop"]
    if about["myshopifyDomain"] != client.domain:
        raise PermanentError(
            f"These credentials belong to {about['myshopifyDomain']}, not to {client.domain}: "
            "check SHOPIFY_SHOP."
        )
    box = SecretBox(settings.secret_key)
    shop = shop_by_domain(session, client.domain)
    if shop is None:
        shop = Shop(domain=client.domain, is_sandbox=is_sandbox, created_at=clock.now())
        session.add(shop)
    is_other_currency = shop.currency not in (None, about["currencyCode"])
    shop.shopify_id = gid.number(about["id"], "Shop")
    shop.name = about["name"]
    shop.currency = about["currencyCode"]
    shop.time_zone = about["ianaTimezone"]
    shop.uninstalled_at = None
    shop.client_id = client.client_id
    _keep_secret(shop, client.client_secret.get_secret_value(), box, now=clock.now())
    session.flush()
    keep_scopes(session, shop.shop_id, granted_scopes(answer))
    if is_other_currency:
        statistics.recompute_all(
            session, shop.shop_id, touched_at=business_clock(shop, clock).now()
        )
    return shop


def _keep_secret(shop: Shop, secret: str, box: SecretBox, *, now: datetime) -> None:
    former = _readable_secret(shop, box)
    if former == secret:
        return
    # One that cannot be read any more signs nothing we could check.
    shop.previous_client_secret_encrypted = shop.client_secret_encrypted if former else None
    shop.previous_client_secret_until = now + FORMER_SECRET_SERVES if former else None
    shop.client_secret_encrypted = box.encrypt(secret)


def _readable_secret(shop: Shop, box: SecretBox) -> str | None:
    try:
        return box.decrypt(shop.client_secret_encrypted) if shop.client_secret_encrypted else None
    except PermanentError:  # ECOMCRM_SECRET_KEY has changed
        return None


def shop_by_domain(session: Session, domain: str) -> Shop | None:
    return session.scalars(select(Shop).where(Shop.domain == domain)).one_or_none()


def all_shops(session: Session) -> list[Shop]:
    return list(session.scalars(select(Shop).order_by(Shop.shop_id)))


def installed_shops(session: Session) -> list[Shop]:
    """The shops we may read: without those that have removed the app."""
    return [shop for shop in all_shops(session) if shop.uninstalled_at is None]


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
