from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from starlette.testclient import TestClient

from core.database import make_engine
from core.migrate import head_revision, upgrade
from core.settings import Settings
from webapp.app import create_app
from webapp.assets import Assets


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """A database of its own: whether the marts are there must not depend on other tests."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE ecomcrm_ready")
    url = make_url(postgres_url).set(database="ecomcrm_ready")
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE ecomcrm_ready WITH (FORCE)")
    admin.dispose()


def app_on(url: str, settings: Settings) -> FastAPI:
    changed = settings.model_dump() | {"database_url": url}
    app = create_app(Settings.model_validate(changed))
    built = Assets({"app.css": "app-1.css"})
    app.state.services = replace(app.state.services, assets=built)
    return app


def test_healthz_needs_no_database(settings: Settings) -> None:
    url = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"
    with TestClient(app_on(url, settings)) as client:
        assert client.get("/healthz").text == "ok"
        response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "unreachable"


def test_readyz_says_what_is_missing_until_nothing_is(
    empty_database: str, settings: Settings
) -> None:
    engine = make_engine(empty_database)
    with TestClient(app_on(empty_database, settings)) as client:
        assert client.get("/readyz").json() == {
            "ready": False,
            "checks": {
                "database": "ok",
                "migrations": f"at nothing, needs {head_revision()}",
                "marts": "missing: run `ecomcrm rfm`",
                "frontend": "ok",
            },
        }
        upgrade(engine)
        response = client.get("/readyz")
        assert (response.status_code, response.json()["checks"]["migrations"]) == (503, "ok")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA marts")
            connection.exec_driver_sql("CREATE VIEW marts.customers AS SELECT 1 AS shop_id")
        response = client.get("/readyz")
    engine.dispose()
    assert (response.status_code, response.json()["ready"]) == (200, True)


def test_readyz_says_when_the_front_end_is_not_built(settings: Settings) -> None:
    app = create_app(settings)
    app.state.services = replace(app.state.services, assets=Assets())
    with TestClient(app) as client:
        assert "npm run build" in client.get("/readyz").json()["checks"]["frontend"]
