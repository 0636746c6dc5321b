"""Settings, read once at the edge of a process and passed inward.

Nothing else reads the environment. Every field is documented in `.env.example`; a test compares
the two.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from core.errors import SettingsError

PLACEHOLDERS = frozenset({"changethis", "changeme", "secret", "password", "xxx"})
MIN_KEY_LENGTH = 32


def _postgres_url(value: SecretStr) -> SecretStr:
    """Any Postgres URL; the driver is always psycopg 3."""
    try:
        url = make_url(value.get_secret_value())
    except ArgumentError:
        raise ValueError("not a database URL (postgresql://user:password@host:port/name)") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(f"must be a PostgreSQL URL, not {url.get_backend_name()}")
    return SecretStr(url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))


def _secret_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.lower() in PLACEHOLDERS or len(text) < MIN_KEY_LENGTH:
        raise ValueError(
            f"must be at least {MIN_KEY_LENGTH} random characters (openssl rand -hex 32)"
        )
    return value


def _secret_keys(value: object) -> object:
    """Several, with commas between them."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value.rstrip("/")


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
SecretKey = Annotated[SecretStr, AfterValidator(_secret_key)]
SecretKeys = Annotated[tuple[SecretKey, ...], BeforeValidator(_secret_keys)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Frozen settings of one process. Field aliases are the environment variables."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    database_url: PostgresUrl = Field(alias="DATABASE_URL")
    database_direct_url: PostgresUrl | None = Field(None, alias="DATABASE_DIRECT_URL")
    secret_key: SecretKey = Field(alias="ECOMCRM_SECRET_KEY")
    previous_secret_keys: SecretKeys = Field((), alias="ECOMCRM_PREVIOUS_SECRET_KEYS")
    home: Path = Field(alias="ECOMCRM_HOME")
    public_url: HttpUrl = Field("http://127.0.0.1:8400", alias="ECOMCRM_PUBLIC_URL")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="ECOMCRM_LOG_LEVEL"
    )

    shopify_shop: str | None = Field(None, alias="SHOPIFY_SHOP")
    shopify_client_id: str | None = Field(None, alias="SHOPIFY_CLIENT_ID")
    shopify_client_secret: SecretStr | None = Field(None, alias="SHOPIFY_CLIENT_SECRET")
    shopify_base_url: HttpUrl = Field("https://{shop}", alias="ECOMCRM_SHOPIFY_BASE_URL")
    shopify_api_version: Annotated[str, Field(pattern=r"^20\d\d-(01|04|07|10)$")] = Field(
        "2026-07", alias="ECOMCRM_SHOPIFY_API_VERSION"
    )

    mail_provider: Literal["resend", "smtp"] = Field("resend", alias="ECOMCRM_MAIL_PROVIDER")
    smtp_url: SecretStr | None = Field(None, alias="ECOMCRM_SMTP_URL")

    resend_api_key: SecretStr | None = Field(None, alias="RESEND_API_KEY")
    resend_base_url: HttpUrl = Field("https://api.resend.com", alias="ECOMCRM_RESEND_BASE_URL")
    resend_webhook_secret: SecretStr | None = Field(None, alias="ECOMCRM_RESEND_WEBHOOK_SECRET")

    send_requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = Field(
        9.0, alias="ECOMCRM_SEND_REQUESTS_PER_SECOND"
    )

    ingest_processes: Annotated[int, Field(ge=1, le=16)] = Field(
        1, alias="ECOMCRM_INGEST_PROCESSES"
    )

    activation_idle_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0, alias="ECOMCRM_ACTIVATION_IDLE_SECONDS"
    )
    activation_lifetime_seconds: Annotated[float, Field(ge=10, le=86_400)] = Field(
        600.0, alias="ECOMCRM_ACTIVATION_LIFETIME_SECONDS"
    )

    dagster_url: HttpUrl = Field("http://127.0.0.1:3400", alias="ECOMCRM_DAGSTER_URL")

    @property
    def listen_url(self) -> str:
        """Where a session may keep state (LISTEN, advisory locks): never behind a pooler."""
        return (self.database_direct_url or self.database_url).get_secret_value()

    @property
    def uses_sandbox(self) -> bool:
        """True when any vendor is played by a stand-in on this machine."""
        local = ("http://127.0.0.1", "http://localhost")
        return self.shopify_base_url.startswith(local) or self.resend_base_url.startswith(local)


def environment_variables() -> list[str]:
    """The names this process understands, in the order of the class."""
    return [field.alias for field in Settings.model_fields.values() if field.alias]


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Raises SettingsError naming every missing or malformed variable at once.
    """
    environ = os.environ if environ is None else environ
    given = {name: environ[name] for name in environment_variables() if environ.get(name)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        lines = [_line(problem["loc"], problem["msg"]) for problem in error.errors()]
        raise SettingsError(
            "Settings are missing or malformed (see .env.example):\n" + "\n".join(lines)
        ) from None


def _line(location: tuple[int | str, ...], message: str) -> str:
    name = location[0] if location else "settings"
    text = "is missing" if message == "Field required" else message.removeprefix("Value error, ")
    return f"  {name}: {text}"
