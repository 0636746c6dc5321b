import pytest

from core.errors import PermanentError, SettingsError
from core.subscriptions import receiver_address
from ops.home import Home, HomeKind
from ops.ports import Service, free_ports
from ops.production import refuse_sandbox
from ops.programs import POSTGRES, SANDBOX, programs_of, write_workspace
from ops.world import World, open_world

REAL = {
    "RESEND_API_KEY": "re_live_123",
    "SHOPIFY_CLIENT_SECRET": "shpss_live",
    "DATABASE_URL": "postgresql://someone:pw@db.example:5432/crm",
}


def world_of(home: Home, kind: HomeKind, environ: dict[str, str]) -> World:
    return open_world(home, kind, environ=free_ports() | environ)


def test_a_demo_never_sees_real_keys_or_the_users_database(home: Home) -> None:
    world = world_of(home, HomeKind.DEMO, REAL)
    environments = [world.base_environment()]
    environments += [dict(program.environment) for program in programs_of(world).values()]
    values = {value for environment in environments for value in environment.values()}
    assert values.isdisjoint(REAL.values())
    assert world.settings.uses_sandbox


def test_every_process_gets_what_it_needs_and_no_more(home: Home) -> None:
    world = world_of(home, HomeKind.DEMO, {})
    programs = programs_of(world)
    secret = world.secrets.secret_key
    assert secret not in programs[POSTGRES].environment.values()
    assert secret not in programs[SANDBOX].environment.values()
    assert "DATABASE_URL" not in programs[SANDBOX].environment
    assert secret in programs["web"].environment.values()
    assert not any(name.startswith(("SHOPIFY", "DATABASE")) for name in world.base_environment())


def test_production_has_no_sandbox_and_uses_the_database_that_is_set(home: Home) -> None:
    world = world_of(home, HomeKind.PRODUCTION, REAL)
    assert set(programs_of(world)).isdisjoint({SANDBOX, POSTGRES})
    assert world.settings.database_url.get_secret_value().endswith("@db.example:5432/crm")
    assert world.dagster_database_url == (
        "postgresql+psycopg2://someone:pw@db.example:5432/dagster"
    )
    assert not world.settings.uses_sandbox


def test_dagsters_tables_stay_out_of_a_pooler(home: Home) -> None:
    direct = {"DATABASE_DIRECT_URL": "postgresql://someone:pw@direct.example/crm"}
    world = world_of(home, HomeKind.PRODUCTION, REAL | direct)
    assert world.dagster_database_url == "postgresql+psycopg2://someone:pw@direct.example/dagster"


@pytest.mark.requirement("FOUND-05")
def test_start_up_names_every_malformed_setting_at_once(home: Home) -> None:
    wrong = {"ECOMCRM_PUBLIC_URL": "crm.example", "ECOMCRM_LOG_LEVEL": "LOUD"}
    with pytest.raises(SettingsError) as refusal:
        _ = world_of(home, HomeKind.PRODUCTION, wrong).settings
    assert all(name in str(refusal.value) for name in wrong)


@pytest.mark.parametrize("key", ["RESEND_API_KEY", "SHOPIFY_CLIENT_SECRET"])
def test_a_stand_in_beside_a_real_key_is_refused(home: Home, key: str) -> None:
    environ = {"ECOMCRM_RESEND_BASE_URL": "http://127.0.0.1:8500/resend"}
    settings = world_of(home, HomeKind.PRODUCTION, environ).settings
    refuse_sandbox(settings, environ)
    with pytest.raises(PermanentError, match=f"{key} would be used beside a stand-in"):
        refuse_sandbox(settings, environ | {key: "live"})


def test_a_reader_elsewhere_gets_a_session_that_cannot_write(home: Home) -> None:
    world = world_of(home, HomeKind.PRODUCTION, REAL)
    assert "default_transaction_read_only" in world.read_only_url
    assert world_of(home, HomeKind.DEMO, {}).read_only_url.startswith(
        "postgresql://ecomcrm_reader:"
    )


@pytest.mark.requirement("FOUND-06")
def test_dagster_is_told_where_the_code_locations_listen(home: Home) -> None:
    world = world_of(home, HomeKind.DEMO, {})
    text = write_workspace(world).read_text()
    assert str(world.ports[Service.CODE_PLATFORM]) in text
    assert str(world.ports[Service.CODE_ACTIVATION]) in text


def test_the_sandbox_sends_compliance_webhooks_where_all_others_go(home: Home) -> None:
    world = world_of(home, HomeKind.DEMO, {})
    expected = receiver_address(world.settings.public_url, is_sandbox=True)
    assert world.sandbox_environment()["SANDBOX_COMPLIANCE_URL"] == expected
