"""ECOMCRM_HOME: the one folder where all state lives, its secrets and its lock."""

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from core.errors import PermanentError
from ops.accounts import service_account
from ops.config_file import read_env_file, write_env_file

CONFIG_HEADING: Final = "Made by ecomcrm: secrets and ports of this installation. Keep it private."


class HomeKind(StrEnum):
    """A home is for one of these for ever: made-up shops never meet real customers."""

    DEMO = "demo"
    PRODUCTION = "production"


def home_path(environ: Mapping[str, str]) -> Path:
    """ECOMCRM_HOME, or its default: root's own home is closed to the user of PostgreSQL."""
    if given := environ.get("ECOMCRM_HOME"):
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/ecomcrm")
    data_home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "ecomcrm"


@dataclass(frozen=True)
class Home:
    """Paths inside the state folder."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.env"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def dagster(self) -> Path:
        return self.path / "dagster"

    @property
    def dbt(self) -> Path:
        return self.path / "dbt"

    @property
    def sandbox(self) -> Path:
        return self.path / "sandbox"

    @property
    def shopify(self) -> Path:
        return self.path / "shopify"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    def create(self) -> None:
        """Make the folders, closed to everyone else.

        For root, the group of PostgreSQL's user may pass through the top folder (0710), though
        not look into it: the data directory is below, and PostgreSQL refuses to run as root.
        Making that user the owner instead would let it replace what root executes.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = service_account()
        if account:
            os.chown(self.path, 0, account.gid)
        self.path.chmod(0o710 if account else 0o700)
        for folder in (self.dagster, self.dbt, self.sandbox, self.shopify, self.logs, self.run):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for one command that starts or stops processes.

        Raises PermanentError when another one holds it.
        """
        with (self.run / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise PermanentError(
                    f"Another ecomcrm command (pid {file.read().strip() or '?'}) is at work in "
                    f"{self.path}. Stop it with Ctrl-C or `ecomcrm down`."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


@dataclass(frozen=True)
class Secrets:
    """Generated once per home; every one is random."""

    secret_key: str
    superuser_password: str
    owner_password: str
    reader_password: str
    sandbox_client_id: str
    sandbox_client_secret: str
    sandbox_resend_key: str
    sandbox_webhook_secret: str


_SECRET_NAMES: Final = {
    "secret_key": "ECOMCRM_SECRET_KEY",
    "superuser_password": "ECOMCRM_POSTGRES_SUPERUSER_PASSWORD",
    "owner_password": "ECOMCRM_POSTGRES_PASSWORD",
    "reader_password": "ECOMCRM_POSTGRES_READER_PASSWORD",
    "sandbox_client_id": "SANDBOX_CLIENT_ID",
    "sandbox_client_secret": "SANDBOX_CLIENT_SECRET",
    "sandbox_resend_key": "SANDBOX_RESEND_API_KEY",
    "sandbox_webhook_secret": "SANDBOX_RESEND_WEBHOOK_SECRET",
}
_KIND_NAME: Final = "ECOMCRM_HOME_KIND"


def load_secrets(home: Home) -> Secrets:
    """The home's secrets; those that are missing are generated and saved first."""
    values = read_env_file(home.config_file)
    missing = {name: key for name, key in _SECRET_NAMES.items() if not values.get(key)}
    if missing:
        fresh = {key: _generate(name) for name, key in missing.items()}
        save_config(home, fresh)
        values |= fresh
    return Secrets(**{name: values[key] for name, key in _SECRET_NAMES.items()})


def save_config(home: Home, changes: Mapping[str, str]) -> None:
    values = read_env_file(home.config_file) | dict(changes)
    write_env_file(home.config_file, values, heading=CONFIG_HEADING)


def require_kind(home: Home, kind: HomeKind) -> None:
    """PermanentError when the home was made for the other use."""
    known = known_kind(home)
    if known not in {None, kind}:
        right = "ecomcrm demo" if known == HomeKind.DEMO else "ecomcrm up"
        raise PermanentError(
            f"{home.path} holds a {known} installation: start it with `{right}`, or set "
            "ECOMCRM_HOME to another folder."
        )


def claim_kind(home: Home, kind: HomeKind) -> None:
    """Mark the home as demo or production, for ever."""
    require_kind(home, kind)
    save_config(home, {_KIND_NAME: kind.value})


def known_kind(home: Home) -> HomeKind | None:
    known = read_env_file(home.config_file).get(_KIND_NAME)
    return HomeKind(known) if known else None


def _generate(name: str) -> str:
    if name == "sandbox_webhook_secret":  # Svix: base64 behind a prefix
        return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    prefix = {
        "sandbox_resend_key": "re_sandbox_",
        "sandbox_client_secret": "shpss_",
    }.get(name, "")
    return prefix + secrets.token_hex(32 if name == "secret_key" else 16)
