"""`ecomcrm suppressions` and `ecomcrm sending`, as they are typed."""

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from activation.outbox import pacing
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import AuditEntry, SendingHold, Shop
from core.models.enums import AuditAction, HoldCause
from core.settings import Settings
from ops.cli import app
from ops.home import Home, HomeKind, claim_kind
from ops.ports import free_ports
from ops.world import open_world
from tests.fixtures.shopify import add_shop


def ecomcrm(*arguments: str, **how: Any) -> Result:
    return CliRunner().invoke(app, list(arguments), **how)


@pytest.fixture
def factory(
    home: Home, settings: Settings, session_factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> SessionFactory:
    """An installation with one shop."""
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
        add_shop(session, settings)
    return session_factory


def emails() -> list[str]:
    shown = json.loads(ecomcrm("suppressions", "list", "--json").stdout)
    return sorted(each["email"] for each in shown["suppressions"])


@pytest.mark.requirement("EMAIL-03")
def test_a_list_comes_in_goes_out_and_an_address_is_lifted(
    factory: SessionFactory, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("email,reason\nann@example.com,bounce\nnobody,\n+bob@example.com,\n")
    read = ecomcrm("suppressions", "import", str(file), "--json")
    report = json.loads(read.stdout)
    assert read.exit_code == 1
    assert (report["added"], report["bad_lines"]) == (2, [{"line": 3, "problem": "not an address"}])
    assert ecomcrm("suppressions", "add", "Carl@example.com").exit_code == 0
    assert emails() == ["+bob@example.com", "ann@example.com", "carl@example.com"]
    out = tmp_path / "out.csv"
    assert ecomcrm("suppressions", "export", "-o", str(out)).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert ecomcrm("suppressions", "export").stdout.splitlines()[0].startswith("email,reason")
    again = ecomcrm("suppressions", "import", "-", "--json", input=out.read_text())
    assert (again.exit_code, json.loads(again.stdout)["known"]) == (0, 3)
    assert ecomcrm("suppressions", "lift", "ann@example.com", "--reason", "Works.").exit_code == 0
    assert "ann@example.com" not in emails()
    with session_scope(factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.reason) == (AuditAction.LIFT_SUPPRESSION, "Works.")


@pytest.mark.requirement("EMAIL-03")
def test_a_shop_that_stopped_is_shown_and_resumed(factory: SessionFactory) -> None:
    now = SystemClock().now()
    with session_scope(factory) as session:
        shop_id = session.scalars(select(Shop.shop_id)).one()
        words = "5 of the 100 mails bounced."
        session.add(
            SendingHold(
                shop_id=shop_id, held_at=now, cause=HoldCause.BOUNCES, reason=words, figures={}
            )
        )
        pacing.pause(session, shop_id, delay=timedelta(days=3650), reason=words)
    [shown] = json.loads(ecomcrm("sending", "status", "--json").stdout)["shops"]
    assert (shown["is_paused"], shown["reason"]) == (True, words)
    assert ecomcrm("sending", "resume", "--reason", "Cleaned.").exit_code == 0
    [shown] = json.loads(ecomcrm("sending", "status", "--json").stdout)["shops"]
    assert (shown["is_paused"], shown["reason"]) == (False, None)


def test_a_file_that_is_not_there_and_an_address_that_is_none_are_refused(
    factory: SessionFactory,
) -> None:
    assert "cannot be read" in str(ecomcrm("suppressions", "import", "/nowhere.csv").exception)
    assert "not an email address" in str(ecomcrm("suppressions", "add", "ann").exception)
    assert "no list to mirror" in str(ecomcrm("suppressions", "mirror").exception)
