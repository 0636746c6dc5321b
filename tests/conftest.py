"""Real Postgres for every test that has SQL: one cluster a run, one database a worker, migrated by
Alembic; each test works in a database that is emptied before it."""

import gc
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import httpx

# Its pytest plug-in otherwise imports it at the very end, where CPython 3.11 can fail to compile it
# after Dagster was loaded ("AST constructor recursion depth mismatch").
import hypothesis  # noqa: F401
import pytest
from filelock import FileLock
from httpx._transports import default as transports
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from core.clock import MovableClock
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.migrate import upgrade
from core.settings import Settings
from ops.postgres import throwaway_postgres
from tests.fixtures.emptying import empty

pytest_plugins = [
    "tests.fixtures.marts",
    "tests.fixtures.pooler",
    "tests.fixtures.scheduling",
]

# What collecting imports is there to stay: to look through it for garbage again and again took a
# fifth of the time.
gc.disable()

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_trust_store() -> Iterator[None]:
    """httpx reads the authorities it trusts anew for each client: 24 ms, thousands of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transports, "create_ssl_context", cache(httpx.create_ssl_context))
        yield


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A throwaway cluster of this worker; a role that may create databases."""
    with throwaway_postgres(_memory()) as url:
        yield url


def _memory() -> Path | None:
    """A folder in memory where there is one with room: emptying a table makes new files."""
    folder = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    if not folder.is_dir():
        return None
    about = os.statvfs(folder)
    has_room = about.f_bavail * about.f_frsize > 4 * 2**30
    return folder if has_room and not about.f_flag & os.ST_NOEXEC else None


@pytest.fixture(scope="session")
def database_url(postgres_url: str) -> str:
    """A migrated database."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE ecomcrm_test")
    admin.dispose()
    url = make_url(postgres_url).set(database="ecomcrm_test")
    text = url.render_as_string(hide_password=False)
    engine = make_engine(text)
    upgrade(engine)
    engine.dispose()
    return text


@pytest.fixture(scope="session")
def _engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_engine: Engine) -> Engine:
    """The test database with every table of ours empty and identities restarted."""
    with _engine.begin() as connection:
        empty(connection)
    return _engine


@pytest.fixture
def session_factory(engine: Engine) -> SessionFactory:
    return make_session_factory(engine)


@pytest.fixture
def session(session_factory: SessionFactory) -> Iterator[Session]:
    """One transaction, committed at the end; commit earlier where other connections must see it."""
    with session_scope(session_factory) as session:
        yield session


@pytest.fixture
def clock() -> MovableClock:
    """Business time stands at 2026-11-20 12:00 UTC until a test moves it."""
    return MovableClock(NOON)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings as a process would have them, vendors pointing nowhere."""
    return Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "ECOMCRM_SECRET_KEY": "0123456789abcdef0123456789abcdef",
            "ECOMCRM_HOME": str(tmp_path),
            "ECOMCRM_PUBLIC_URL": "http://127.0.0.1:8400",
            "ECOMCRM_SHOPIFY_BASE_URL": "http://127.0.0.1:9/shopify/{shop}",
            "RESEND_API_KEY": "re_test",
            "ECOMCRM_RESEND_BASE_URL": "http://127.0.0.1:9/resend",
            "ECOMCRM_RESEND_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
    )


@pytest.fixture(scope="session")
def shopify_schemas() -> dict[str, Path]:
    """Shopify's own schema file of each version we support, fetched once per machine by the same
    set-up step as the demo's."""
    from ops.schema_file import ensure_schema_files  # noqa: PLC0415 - not every test needs npm

    folder = Path.home() / ".cache" / "ecomcrm" / "shopify"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        return ensure_schema_files(folder)


@pytest.fixture(scope="session")
def shopify_schema_path(request: pytest.FixtureRequest) -> Path:
    """Of the version that is our default and the sandbox's."""
    given = os.environ.get("ECOMCRM_SHOPIFY_SCHEMA")
    if given:
        return Path(given)
    schemas: dict[str, Path] = request.getfixturevalue("shopify_schemas")
    return schemas["2026-07"]
