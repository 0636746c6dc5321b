"""The application factory: `uvicorn --factory webapp.app:create_app`, or `python -m webapp`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from activation.provider.resend import ResendProvider
from core.clock import Clock, SystemClock
from core.database import make_engine, make_session_factory
from core.settings import Settings, load_settings
from webapp.assets import STATIC, CachedStaticFiles, read_assets
from webapp.click_buffer import ClickBuffer
from webapp.errors import install_error_handlers
from webapp.middleware import RequestContext
from webapp.receiver import COMMITS_AT_ONCE, WebhookReceiver, is_webhook
from webapp.routes import (
    clicks,
    confirm,
    data_docs,
    health,
    login,
    overview,
    unsubscribe,
    webhooks,
)
from webapp.services import Services

POOL_SIZE: Final = 10
# Handlers run in threads; more threads than connections would only queue for them.
THREADS: Final = 2 * POOL_SIZE

_log = logging.getLogger(__name__)


class _Application(FastAPI):
    """Webhooks of Shopify are taken before anything else: the framework's own layers took as long
    as reading the body.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_webhook(scope):
            scope["app"] = self
            await self.state.receiver(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def take_webhooks(self) -> None:
        self.state.receiver = WebhookReceiver(super().__call__)


def create_app(settings: Settings | None = None, *, clock: Clock | None = None) -> FastAPI:
    """The web application of one process.

    Without `settings` they are read from the environment (SettingsError names what is missing).
    No connection is opened before the first request.
    """
    services = _services(settings or load_settings(), clock or SystemClock())
    app = _Application(
        title="EcomCRM",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    app.add_middleware(RequestContext, is_https=services.is_https)
    app.take_webhooks()
    install_error_handlers(app)
    for module in (health, webhooks, clicks, unsubscribe, confirm, login, overview, data_docs):
        app.include_router(module.router)
    app.mount("/static", CachedStaticFiles(directory=STATIC), name="static")
    return app


def _services(settings: Settings, clock: Clock) -> Services:
    engine = make_engine(
        settings.database_url.get_secret_value(),
        pool_size=POOL_SIZE,
        application_name="ecomcrm web",
    )
    webhooks = make_engine(
        settings.database_url.get_secret_value(),
        pool_size=COMMITS_AT_ONCE,
        application_name="ecomcrm webhooks",
        is_pinged=False,  # a round trip to the database per group
    )
    sessions = make_session_factory(engine)
    return Services(
        settings=settings,
        engine=engine,
        session_factory=sessions,
        webhook_engine=webhooks,
        webhook_sessions=make_session_factory(webhooks),
        clock=clock,
        provider=ResendProvider.from_settings(settings),
        clicks=ClickBuffer(sessions),
        assets=read_assets(),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    current_default_thread_limiter().total_tokens = THREADS
    if not services.assets.is_built:
        _log.warning("the front end is not built: pages have no styles; run `npm run build`")
    try:
        yield
    finally:
        services.close()
