"""What one installation consists of, and the environment of each of its processes.

Every process gets the variables it needs and no others: the sandbox never sees our database,
PostgreSQL sees no secret at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sqlalchemy.engine import URL, make_url

from core.paths import DBT_PROJECT
from core.settings import Settings, environment_variables, load_settings
from ops.accounts import require_reachable
from ops.config_file import read_env_file
from ops.databases import APPLICATION_DATABASE, DAGSTER_DATABASE, OWNER, READER
from ops.home import Home, HomeKind, Secrets, load_secrets, save_config
from ops.orphans import MARKER
from ops.ports import LOOPBACK, Ports, Service, choose_ports
from ops.postgres import Cluster

DAGSTER_DATABASE_VARIABLE: Final = "ECOMCRM_DAGSTER_DATABASE_URL"
_OURS: Final = (
    "ECOMCRM_",
    "SANDBOX_",
    "SHOPIFY_",
    "RESEND_",
    "ANTHROPIC_",
    "DATABASE_",
    "DAGSTER_",
)
# What also a demo lets its user decide.
_TUNED: Final = (
    "ECOMCRM_ACTIVATION_IDLE_SECONDS",
    "ECOMCRM_ACTIVATION_LIFETIME_SECONDS",
    "ECOMCRM_SEND_REQUESTS_PER_SECOND",
)


@dataclass(frozen=True)
class World:
    """One home with its ports and secrets, and what the user set."""

    home: Home
    kind: HomeKind
    ports: Ports
    secrets: Secrets
    environ: Mapping[str, str]

    @property
    def is_embedded(self) -> bool:
        """Whether PostgreSQL is ours to run; a demo never touches a database of the user's."""
        return self.kind is HomeKind.DEMO or not self.environ.get("DATABASE_URL")

    @property
    def cluster(self) -> Cluster:
        return Cluster(
            self.home.postgres, self.ports[Service.POSTGRES], self.secrets.superuser_password
        )

    @property
    def database_url(self) -> str:
        """The application's database as its owner."""
        if not self.is_embedded:
            return self.environ["DATABASE_URL"]
        return _text(self._embedded_url(OWNER, self.secrets.owner_password))

    @property
    def read_only_url(self) -> str:
        """The same database for someone who only looks.

        A role of its own where the cluster is ours; elsewhere the session is merely read-only,
        because we may not make roles there.
        """
        if self.is_embedded:
            return _text(self._embedded_url(READER, self.secrets.reader_password))
        url = make_url(self.database_url)
        return _text(url.update_query_dict({"options": "-c default_transaction_read_only=on"}))

    @property
    def dagster_database_url(self) -> str:
        """Dagster's database; psycopg2 is spelled out because dagster-postgres needs it."""
        given = self.environ.get(DAGSTER_DATABASE_VARIABLE)
        if given and not self.is_embedded:
            return given
        direct = None if self.is_embedded else self.environ.get("DATABASE_DIRECT_URL")
        url = make_url(direct or self.database_url).set(
            drivername="postgresql+psycopg2", database=DAGSTER_DATABASE
        )
        return _text(url)

    def address(self, service: Service) -> str:
        return f"http://{LOOPBACK}:{self.ports[service]}"

    @cached_property
    def settings(self) -> Settings:
        """The settings as our processes will see them; SettingsError names all that is wrong."""
        return load_settings(self.application_environment())

    def application_environment(self) -> dict[str, str]:
        """For web app and code locations: everything `core.settings` knows."""
        given = {} if self.kind is HomeKind.DEMO else self._given()
        return self._defaults() | given | self._vendors() | self._marker()

    def dagster_environment(self) -> dict[str, str]:
        """For Dagster's own processes."""
        return {
            "DAGSTER_HOME": str(self.home.dagster),
            DAGSTER_DATABASE_VARIABLE: self.dagster_database_url,
            **self._marker(),
        }

    def code_location_environment(self) -> dict[str, str]:
        return self.application_environment() | self.dagster_environment() | self.dbt_environment()

    def dbt_environment(self) -> dict[str, str]:
        url = make_url(self.database_url)
        return {
            "DBT_PROFILES_DIR": str(DBT_PROJECT),
            "DBT_TARGET_PATH": str(self.home.dbt / "target"),
            "DBT_LOG_PATH": str(self.home.logs / "dbt"),
            "ECOMCRM_DBT_HOST": url.host or LOOPBACK,
            "ECOMCRM_DBT_PORT": str(url.port or 5432),
            "ECOMCRM_DBT_USER": url.username or "",
            "ECOMCRM_DBT_PASSWORD": url.password or "",
            "ECOMCRM_DBT_DATABASE": url.database or "",
        }

    def sandbox_environment(self) -> dict[str, str]:
        secrets = self.secrets
        return {
            "SANDBOX_CLIENT_ID": secrets.sandbox_client_id,
            "SANDBOX_CLIENT_SECRET": secrets.sandbox_client_secret,
            # What a real app's configuration names (docs/shopify.md).
            "SANDBOX_COMPLIANCE_URL": f"{self.address(Service.WEB)}/webhooks/shopify",
            "SANDBOX_RESEND_API_KEY": secrets.sandbox_resend_key,
            "SANDBOX_RESEND_WEBHOOK_URL": f"{self.address(Service.WEB)}/webhooks/resend",
            "SANDBOX_RESEND_WEBHOOK_SECRET": secrets.sandbox_webhook_secret,
            **self._marker(),
        }

    def postgres_environment(self) -> dict[str, str]:
        return self._marker()

    def base_environment(self) -> dict[str, str]:
        """What all inherit: the user's environment without anything that is ours."""
        kept = {name: value for name, value in self.environ.items() if not name.startswith(_OURS)}
        return kept | {"PYTHONUNBUFFERED": "1"} | self._marker()

    def _marker(self) -> dict[str, str]:
        return {MARKER: str(self.home.path)}

    def _embedded_url(self, user: str, password: str) -> URL:
        return URL.create(
            "postgresql",
            username=user,
            password=password,
            host=LOOPBACK,
            port=self.ports[Service.POSTGRES],
            database=APPLICATION_DATABASE,
        )

    def _given(self) -> dict[str, str]:
        return {
            name: self.environ[name] for name in environment_variables() if self.environ.get(name)
        }

    def _defaults(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "ECOMCRM_HOME": str(self.home.path),
            "ECOMCRM_SECRET_KEY": self.secrets.secret_key,
            "ECOMCRM_PUBLIC_URL": self.address(Service.WEB),
            "ECOMCRM_DAGSTER_URL": self.address(Service.DAGSTER),
            "ECOMCRM_LOG_LEVEL": self.environ.get("ECOMCRM_LOG_LEVEL") or "INFO",
            **{name: self.environ[name] for name in _TUNED if self.environ.get(name)},
        }

    def _vendors(self) -> dict[str, str]:
        if self.kind is not HomeKind.DEMO:
            return {}
        sandbox = self.address(Service.SANDBOX)
        return {
            "SHOPIFY_CLIENT_ID": self.secrets.sandbox_client_id,
            "SHOPIFY_CLIENT_SECRET": self.secrets.sandbox_client_secret,
            "ECOMCRM_SHOPIFY_BASE_URL": f"{sandbox}/shopify/{{shop}}",
            "RESEND_API_KEY": self.secrets.sandbox_resend_key,
            "ECOMCRM_RESEND_BASE_URL": f"{sandbox}/resend",
            "ECOMCRM_RESEND_WEBHOOK_SECRET": self.secrets.sandbox_webhook_secret,
        }


def open_world(home: Home, kind: HomeKind, *, environ: Mapping[str, str]) -> World:
    """The world of a home whose processes are all stopped; chooses and remembers its ports.

    Raises PermanentError when a port that was set is taken, or when the user that runs PostgreSQL
    for root could not get to its data.
    """
    ports = choose_ports(environ, read_env_file(home.config_file))
    save_config(home, {service.variable: str(port) for service, port in ports.items()})
    world = World(home, kind, ports, load_secrets(home), environ)
    if world.is_embedded and world.cluster.account:
        require_reachable(home.postgres, world.cluster.account)
    return world


def running_world(home: Home, kind: HomeKind, *, environ: Mapping[str, str]) -> World:
    """The world of a home as it was last started."""
    saved = read_env_file(home.config_file)
    ports = {service: int(saved[service.variable]) for service in Service}
    return World(home, kind, ports, load_secrets(home), environ)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
