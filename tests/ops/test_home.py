import os
import stat
from pathlib import Path

import pytest

from core.errors import PermanentError
from ops.config_file import read_env_file, write_env_file
from ops.home import Home, HomeKind, claim_kind, home_path, load_secrets


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_in_the_home_is_closed_to_others(home: Home) -> None:
    load_secrets(home)
    assert mode_of(home.path) == (0o710 if os.geteuid() == 0 else 0o700)
    assert {mode_of(path) for path in home.path.iterdir() if path.is_dir()} == {0o700}
    assert mode_of(home.config_file) == 0o600


def test_opening_a_home_again_closes_what_was_opened_meanwhile(home: Home) -> None:
    home.path.chmod(0o777)
    home.create()
    assert mode_of(home.path) & 0o007 == 0


def test_secrets_are_made_once_and_differ_between_homes(home: Home, tmp_path: Path) -> None:
    first = load_secrets(home)
    other = Home(tmp_path / "other")
    other.create()
    assert load_secrets(home) == first
    assert load_secrets(other) != first
    assert len(first.secret_key) == 64
    assert first.sandbox_webhook_secret.startswith("whsec_")


def test_a_missing_secret_is_added_without_touching_the_others(home: Home) -> None:
    first = load_secrets(home)
    kept = read_env_file(home.config_file)
    del kept["SANDBOX_CLIENT_ID"]
    write_env_file(home.config_file, kept, heading="edited")
    again = load_secrets(home)
    assert again.sandbox_client_id != first.sandbox_client_id
    assert again.secret_key == first.secret_key


def test_two_commands_never_share_a_home(home: Home) -> None:
    with (
        home.lock(),
        pytest.raises(PermanentError, match=rf"pid {os.getpid()}\) is at work"),
        home.lock(),
    ):
        pass
    with home.lock():
        pass


def test_a_demo_home_is_never_used_for_production(home: Home) -> None:
    claim_kind(home, HomeKind.DEMO)
    claim_kind(home, HomeKind.DEMO)
    with pytest.raises(PermanentError, match="holds a demo installation"):
        claim_kind(home, HomeKind.PRODUCTION)


def test_the_default_home_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/someone")
    assert home_path({}) == Path("/home/someone/.local/share/ecomcrm")
    assert home_path({"XDG_DATA_HOME": "/data"}) == Path("/data/ecomcrm")
    assert home_path({"ECOMCRM_HOME": "/srv/crm"}) == Path("/srv/crm")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert home_path({}) == Path("/var/lib/ecomcrm")
