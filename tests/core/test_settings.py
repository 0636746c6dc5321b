from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import SettingsError
from core.settings import environment_variables, load_settings

KEY = "0123456789abcdef0123456789abcdef"
GOOD = {
    "DATABASE_URL": "postgresql://user:hidden@127.0.0.1/ecomcrm",
    "ECOMCRM_SECRET_KEY": KEY,
    "ECOMCRM_HOME": "/var/lib/ecomcrm",
}


@pytest.mark.requirement("FOUND-05")
def test_every_missing_and_malformed_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {
                "ECOMCRM_SECRET_KEY": "changethis",
                "ECOMCRM_PUBLIC_URL": "crm.example",
                "ECOMCRM_SHOPIFY_API_VERSION": "2026-08",
                "ECOMCRM_LOG_LEVEL": "LOUD",
            }
        )
    text = str(caught.value)
    assert "DATABASE_URL: is missing" in text
    assert "ECOMCRM_HOME: is missing" in text
    assert "ECOMCRM_SECRET_KEY: must be at least 32" in text
    for name in ("PUBLIC_URL", "SHOPIFY_API_VERSION", "LOG_LEVEL"):
        assert f"ECOMCRM_{name}:" in text
    assert "changethis" not in text


@pytest.mark.requirement("FOUND-05")
@pytest.mark.parametrize(
    ("url", "words"),
    [("mysql://a:hidden@b/c", "PostgreSQL"), ("nonsense", "not a database URL"), ("", "missing")],
)
def test_a_database_that_is_no_postgres_is_refused_without_quoting_it(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(GOOD | {"DATABASE_URL": url})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_any_postgres_url_uses_our_driver(scheme: str) -> None:
    settings = load_settings(GOOD | {"DATABASE_URL": f"{scheme}://a:b@c/d"})
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://a:b@c/d"


def test_no_secret_shows_when_settings_are_printed() -> None:
    settings = load_settings(GOOD | {"RESEND_API_KEY": "re_hidden"})
    assert "hidden" not in repr(settings)
    assert KEY not in repr(settings)


def test_settings_are_frozen_and_blank_variables_are_absent_ones() -> None:
    settings = load_settings(GOOD | {"DATABASE_DIRECT_URL": "", "SHOPIFY_SHOP": ""})
    assert settings.shopify_shop is None
    assert settings.listen_url.endswith("/ecomcrm")
    with pytest.raises(ValidationError):
        settings.home = Path("/elsewhere")  # type: ignore[misc]  # what must not be possible


def test_a_stand_in_on_this_machine_is_known_for_what_it_is() -> None:
    assert not load_settings(GOOD).uses_sandbox
    local = {"ECOMCRM_RESEND_BASE_URL": "http://127.0.0.1:8500/resend/"}
    settings = load_settings(GOOD | local)
    assert settings.uses_sandbox
    assert settings.resend_base_url.endswith("/resend")


def test_every_variable_has_one_name() -> None:
    names = environment_variables()
    assert len(names) == len(set(names))
    assert {"DATABASE_URL", "ECOMCRM_SECRET_KEY", "SHOPIFY_CLIENT_SECRET"} <= set(names)
