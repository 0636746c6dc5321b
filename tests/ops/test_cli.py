import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop
from core.paths import PROJECT_ROOT
from ops.cli import app
from ops.home import Home, HomeKind, claim_kind, known_kind
from ops.ports import free_ports
from ops.production import refuse_demo_data
from ops.world import open_world

COMMANDS = [
    *("demo", "up", "down", "status", "smoke", "sync", "rfm", "db url", "sandbox load"),
    *("flows list", "flows on", "flows off", "reconcile", "log"),
    *("shop add", "shop list", "inbox list", "inbox retry"),
    *("suppressions list", "suppressions add", "suppressions import", "suppressions export"),
    *("suppressions lift", "suppressions mirror", "sending status", "sending resume", "doctor"),
    *("sandbox generate", "sandbox uci", "setup schema", "setup manifest", "setup owner"),
]


@pytest.fixture
def demo_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A demo that was started once and is stopped."""
    claim_kind(home, HomeKind.DEMO)
    open_world(home, HomeKind.DEMO, environ=free_ports())
    monkeypatch.setenv("ECOMCRM_HOME", str(home.path))
    return home


def ecomcrm(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "ECOMCRM_HOME") if name in os.environ
    }
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        cwd=PROJECT_ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_db_url_gives_the_owner_or_the_reader(demo_home: Home) -> None:
    runner = CliRunner()
    owner = runner.invoke(app, ["db", "url"]).output
    reader = runner.invoke(app, ["db", "url", "--read-only"]).output
    assert owner.startswith("postgresql://ecomcrm:")
    assert reader.startswith("postgresql://ecomcrm_reader:")
    shown = json.loads(runner.invoke(app, ["db", "url", "--read-only", "--json"]).output)
    assert shown == {"url": reader.strip(), "read_only": True}


def test_status_of_what_is_stopped_is_exit_code_3(demo_home: Home) -> None:
    result = CliRunner().invoke(app, ["status", "--json"])
    report = json.loads(result.output)
    assert result.exit_code == 3
    assert report["running"] is False
    assert {process["state"] for process in report["processes"]} == {"stopped"}


def test_down_with_nothing_running_says_so(tmp_path: Path) -> None:
    result = ecomcrm("down", ECOMCRM_HOME=str(tmp_path / "never"))
    assert result.returncode == 0
    assert "Nothing runs" in result.stderr
    assert not (tmp_path / "never").exists()


def test_a_home_that_was_never_started_is_no_stack_trace(tmp_path: Path) -> None:
    result = ecomcrm("db", "url", ECOMCRM_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("ecomcrm: ")
    assert "holds no installation" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [["sync"], ["rfm"], ["sandbox", "load", "tests"]])
def test_a_command_for_what_is_stopped_says_so(demo_home: Home, command: list[str]) -> None:
    # It was a stack trace of SQLAlchemy's, with the password in reach.
    result = ecomcrm(*command)
    assert result.returncode == 1
    assert result.stderr.startswith("ecomcrm: ")
    assert "Traceback" not in result.stderr


def test_up_refuses_a_demos_home(demo_home: Home) -> None:
    result = ecomcrm("up", RESEND_API_KEY="re_live")
    assert result.returncode == 1
    assert "holds a demo installation" in result.stderr


def test_up_refuses_a_stand_in_beside_a_real_key_and_claims_nothing(home: Home) -> None:
    environ = {
        "ECOMCRM_HOME": str(home.path),
        "RESEND_API_KEY": "re_live",
        "ECOMCRM_SHOPIFY_BASE_URL": "http://127.0.0.1:8500/shopify/{shop}",
    }
    result = ecomcrm("up", **environ, **free_ports())
    assert result.returncode == 1
    assert "RESEND_API_KEY would be used beside a stand-in" in result.stderr
    assert known_kind(home) is None


def test_up_refuses_a_database_with_a_demo_shop_beside_a_real_key(
    session_factory: SessionFactory,
) -> None:
    with session_scope(session_factory) as session:
        session.add(
            Shop(
                domain="demo.myshopify.com",
                name="Demo",
                currency="EUR",
                time_zone="UTC",
                is_sandbox=True,
                client_id="x",
                client_secret_encrypted="x",
            )
        )
    refuse_demo_data(session_factory, {})
    with pytest.raises(PermanentError, match="RESEND_API_KEY would be used on a database"):
        refuse_demo_data(session_factory, {"RESEND_API_KEY": "re_live"})
