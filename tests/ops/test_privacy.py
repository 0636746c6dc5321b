"""Requests about people's data from the command line, without anything of it running."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import PrivacyRequest
from core.models.enums import PrivacyKind, PrivacyState
from core.settings import Settings
from ops.cli import app
from ops.home import Home, HomeKind, claim_kind
from ops.ports import free_ports
from ops.world import open_world
from tests.fixtures.shopify import DOMAIN, add_shop

NOW = SystemClock().now()


@pytest.fixture
def requests(
    home: Home, settings: Settings, session_factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """An answered data request and an erasure that waits, in an installation."""
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
    with session_scope(session_factory) as session:
        shop = add_shop(session, settings)
        answered = PrivacyRequest(
            shop_id=shop.shop_id,
            webhook_id="w1",
            kind=PrivacyKind.DATA_REQUEST,
            state=PrivacyState.COMPLETED,
            requested_at=NOW,
            due_at=NOW + timedelta(days=30),
            finished_at=NOW,
            export={"tables": {"raw_shopify.customers": [{"email": "ada@example.com"}]}},
        )
        waiting = PrivacyRequest(
            shop_id=shop.shop_id,
            webhook_id="w2",
            kind=PrivacyKind.CUSTOMER_REDACT,
            state=PrivacyState.PENDING,
            requested_at=NOW,
            due_at=NOW + timedelta(days=10, hours=1),
            error="A sync that began earlier is running; erased once it is over.",
        )
        session.add_all([answered, waiting])
        session.flush()
        return answered.privacy_request_id, waiting.privacy_request_id


@pytest.mark.requirement("SHOP-07")
def test_requests_are_listed_with_when_they_are_due_and_what_they_wait_for(
    requests: tuple[int, int],
) -> None:
    result = CliRunner().invoke(app, ["privacy", "list"], catch_exceptions=False)
    first, second = result.stdout.splitlines()
    assert f"{DOMAIN}  is to be erased: due on" in first
    assert "in 10 days  A sync that began earlier is running" in first
    assert "wants their data: completed on" in second
    as_json = CliRunner().invoke(app, ["privacy", "list", "--json"], catch_exceptions=False)
    listed = json.loads(as_json.stdout)["requests"]
    assert [request["request_id"] for request in listed] == [requests[1], requests[0]]


@pytest.mark.requirement("SHOP-07")
def test_an_answer_is_printed_or_written_for_its_owner_alone(
    requests: tuple[int, int], tmp_path: Path
) -> None:
    answered = str(requests[0])
    printed = CliRunner().invoke(app, ["privacy", "export", answered], catch_exceptions=False)
    assert json.loads(printed.stdout)["tables"]["raw_shopify.customers"]
    path = tmp_path / "answer.json"
    command = ["privacy", "export", answered, "--output", str(path)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes()) == json.loads(printed.stdout)
    again = CliRunner().invoke(app, command)
    assert "exists already" in str(again.exception)


@pytest.mark.requirement("SHOP-07")
def test_what_has_no_answer_says_why(requests: tuple[int, int]) -> None:
    result = CliRunner().invoke(app, ["privacy", "export", str(requests[1])])
    assert "no data request, not done yet, or" in str(result.exception)
