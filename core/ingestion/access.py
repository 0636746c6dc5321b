"""What the app may read of a shop, asked before every sync, and said in words."""

from datetime import datetime

from core.database import session_scope
from core.errors import PermanentError
from core.granted import keep_scopes
from core.ingestion import runs
from core.ingestion.sync_log import SyncLog
from core.models import Shop
from core.shopify.client import ShopifyClient
from core.shopify.documents import load
from core.subscriptions import granted_scopes


def check_shop(client: ShopifyClient, sync_log: SyncLog) -> None:
    """Keep the scopes the app has now, and say what it cannot see.

    Raises PermanentError for a shop that has removed the app.
    """
    with session_scope(sync_log.factory) as session:
        uninstalled_at = session.get_one(Shop, sync_log.shop_id).uninstalled_at
    if uninstalled_at is not None:
        raise PermanentError(uninstalled_words(uninstalled_at))
    scopes = granted_scopes(client.execute(load("shop")))
    with session_scope(sync_log.factory) as session:
        keep_scopes(session, sync_log.shop_id, scopes)
    words = scope_warning(scopes)
    if words:
        sync_log.warning(words)
        runs.warn(sync_log, words)


def note_version(client: ShopifyClient, sync_log: SyncLog) -> None:
    """Say so when another API version answered than was asked for."""
    if client.served_version == client.api_version:
        return
    words = (
        f"Shopify does not serve API version {client.api_version} any more; "
        f"{client.served_version} answered in its place, and may tell some fields differently. Set "
        "ECOMCRM_SHOPIFY_API_VERSION to a version that Shopify supports."
    )
    sync_log.warning(words)
    runs.warn(sync_log, words)


def uninstalled_words(at: datetime) -> str:
    return (
        f"The app was removed from this shop at Shopify on {at:%Y-%m-%d at %H:%M} UTC, so nothing "
        "can be read any more. Install it again there, then connect the shop here again."
    )


def scope_warning(scopes: list[str]) -> str | None:
    """What this app cannot see, in words."""
    if "read_all_orders" in scopes:
        return None
    return (
        "The app lacks the scope read_all_orders: Shopify shows only orders of the last 60 days, "
        "so returning customers can look like first-time buyers. Add the scope and sync again."
    )
