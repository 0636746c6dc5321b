"""`ecomcrm analyst`, against a database of the user's."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from core.settings import Settings
from ops.cli import app
from ops.home import Home, HomeKind, claim_kind
from ops.ports import free_ports
from ops.world import open_world
from tests.fixtures.marts import Marts

Run = Callable[..., str]


@pytest.fixture
def ecomcrm(home: Home, settings: Settings, marts: Marts, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in an installation on the test database; what it printed."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    environ = free_ports() | {
        "ECOMCRM_HOME": str(home.path),
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "ECOMCRM_SECRET_KEY": settings.secret_key.get_secret_value(),
        "ECOMCRM_PUBLIC_URL": "https://crm.example",
    }
    claim_kind(home, HomeKind.PRODUCTION)
    open_world(home, HomeKind.PRODUCTION, environ=environ)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, ["analyst", *arguments], catch_exceptions=False).stdout

    return run


def test_an_analyst_is_added_listed_and_removed(ecomcrm: Run) -> None:
    made: dict[str, Any] = json.loads(ecomcrm("add", "ada", "--json"))
    conninfo = make_conninfo(
        host=made["host"],
        port=made["port"],
        dbname=made["database"],
        user=made["role"],
        password=made["password"],
    )
    with psycopg.connect(conninfo) as session:
        assert session.execute("SELECT count(*) FROM customers").fetchone() == (0,)
    assert "The password is as it was" in ecomcrm("add", "ada", "--staging")
    assert ecomcrm("list") == "ada  ecomcrm_analyst_ada  and staging\n"
    assert "shown this once" in ecomcrm("add", "ada", "--new-password")
    assert json.loads(ecomcrm("remove", "ada", "--json")) == {
        "removed": "ada",
        "sessions_ended": 0,
    }
    assert ecomcrm("list") == ""
