"""What a request may use: built once per process, found on the application's state."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy import Engine

from activation.provider.resend import ResendProvider
from core.clock import Clock
from core.database import SessionFactory
from core.settings import Settings
from webapp.assets import Assets
from webapp.click_buffer import ClickBuffer


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: Engine
    session_factory: SessionFactory
    webhook_engine: Engine
    webhook_sessions: SessionFactory
    """For the receiver of webhooks alone: pages never wait for its connections."""
    clock: Clock
    provider: ResendProvider
    """Verifies Resend's events, whoever delivers the mail."""
    clicks: ClickBuffer
    assets: Assets

    def close(self) -> None:
        self.clicks.close()
        self.provider.close()
        self.engine.dispose()
        self.webhook_engine.dispose()

    @property
    def is_https(self) -> bool:
        return self.settings.public_url.startswith("https://")


def services_of(request: Request) -> Services:
    """FastAPI dependency."""
    services: Services = request.app.state.services
    return services
