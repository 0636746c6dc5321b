"""What a run or a sensor needs of the product, made when first used.

Nothing is read or opened while definitions load (S20): the environment is read and the engine made
inside a run or a tick, once per process.
"""

from collections.abc import Callable
from functools import cache

import dagster as dg

from core.clock import Clock, SystemClock
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.errors import PermanentError
from core.models import Shop
from core.settings import Settings, load_settings
from core.shopify.client import ShopifyClient
from core.shops import client_for


@cache
def process_settings() -> Settings:
    """Settings of this process; raises SettingsError naming all that is missing."""
    return load_settings()


@cache
def process_session_factory() -> SessionFactory:
    """One pool per process: a sensor that made one per tick would leak connections."""
    settings = process_settings()
    engine = make_engine(settings.database_url.get_secret_value(), application_name="dagster")
    return make_session_factory(engine)


@cache
def shopify_client(shop_id: int) -> ShopifyClient:
    """Shopify client of a shop, kept while the process lives (its token serves 24 hours)."""
    with session_scope(process_session_factory()) as session:
        shop = session.get(Shop, shop_id)
        if shop is None:
            raise PermanentError(f"Shop {shop_id} is not connected any more.")
        return client_for(shop, process_settings())


class Runtime(dg.ConfigurableResource):  # type: ignore[type-arg]  # generic over the value it yields
    """Settings, database, clock and vendors for assets, ops and sensors."""

    @property
    def settings(self) -> Settings:
        return process_settings()

    @property
    def factory(self) -> SessionFactory:
        return process_session_factory()

    @property
    def clock(self) -> Clock:
        return SystemClock()

    @property
    def client_of(self) -> Callable[[int], ShopifyClient]:
        return shopify_client
