"""Shops, comparison, log and inbox from the command line, without anything of it running."""

import json
import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from core.accounts import create_owner, shops_of
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.ingestion.sync_log import SyncLog
from core.models import InboxMessage, Shop, SyncRequest, SyncRun, User
from core.models.enums import InboxState, SyncKind, SyncRequestState, SyncState
from core.secrets import SecretBox
from core.settings import Settings
from ops import shops
from ops.cli import app
from ops.dagster_api import DagsterApi, JobRun
from ops.home import Home, HomeKind, claim_kind
from ops.ports import free_ports
from ops.progress import Progress
from ops.world import open_world
from tests.fixtures.shopify import CLIENT_SECRET, DOMAIN, FakeShopify, add_shop

NOW = SystemClock().now


@pytest.fixture
def home_environ(
    home: Home, settings: Settings, session_factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An installation on the test database, with nothing of it running."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    environ = free_ports() | {
        "ECOMCRM_HOME": str(home.path),
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "ECOMCRM_SECRET_KEY": settings.secret_key.get_secret_value(),
        "ECOMCRM_PUBLIC_URL": "https://crm.example",
    }
    claim_kind(home, HomeKind.PRODUCTION)
    open_world(home, HomeKind.PRODUCTION, environ=environ)
    for name in [name for name in os.environ if name.startswith("SHOPIFY_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


@pytest.fixture
def shopify(monkeypatch: pytest.MonkeyPatch) -> FakeShopify:
    """In place of the vendor, for whatever shop and credentials."""
    fake = FakeShopify()

    def client(**options: Any) -> Any:
        made = fake.client()
        made.client_id = options["client_id"]
        made.client_secret = options["client_secret"]
        return made

    monkeypatch.setattr(shops, "ShopifyClient", client)
    return fake


def call(*arguments: str, input: str | None = None) -> Result:  # noqa: A002 - as the runner has it
    return CliRunner().invoke(app, list(arguments), input=input)


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_a_shop_is_added_with_its_own_encrypted_secret(
    home_environ: dict[str, str],
    shopify: FakeShopify,
    session_factory: SessionFactory,
    settings: Settings,
    tmp_path: Path,
) -> None:
    with session_scope(session_factory) as session:
        first = add_shop(session, settings, domain="first.myshopify.com").shop_id
        clock = SystemClock()
        create_owner(
            session, shop_id=first, email="boss@example.com", password="x" * 12, clock=clock
        )
    file = tmp_path / "secret"
    file.write_text("shpss_second\n")
    file.chmod(stat.S_IRUSR)
    report = as_json(
        call(
            *("shop", "add", DOMAIN, "--client-id", "second-app"),
            *("--client-secret-file", str(file), "--json"),
        )
    )
    assert report["shop"] == DOMAIN
    assert report["missing_scopes"] == ["write_customers"]
    assert report["webhooks_problem"] is None
    assert report["owners"] == ["boss@example.com"]
    with session_scope(session_factory) as session:
        shop = session.scalars(select(Shop).where(Shop.domain == DOMAIN)).one()
        assert shop.client_id == "second-app"
        assert "shpss_second" not in shop.client_secret_encrypted
        assert SecretBox(settings.secret_key).decrypt(shop.client_secret_encrypted) == (
            "shpss_second"
        )
        boss = session.scalars(select(User)).one()
        assert [each.domain for each in shops_of(session, boss.user_id)] == [
            "first.myshopify.com",
            DOMAIN,
        ]
    assert {each["uri"] for each in shopify.subscriptions} == {
        "https://crm.example/webhooks/shopify"
    }


def test_a_person_who_owns_only_some_shops_does_not_see_a_new_one(
    home_environ: dict[str, str],
    shopify: FakeShopify,
    session_factory: SessionFactory,
    settings: Settings,
) -> None:
    with session_scope(session_factory) as session:
        theirs = add_shop(session, settings, domain="first.myshopify.com").shop_id
        add_shop(session, settings, domain="agency.myshopify.com")
        clock = SystemClock()
        create_owner(
            session, shop_id=theirs, email="client@example.com", password="x" * 12, clock=clock
        )
    add = ("shop", "add", DOMAIN, "--client-id", "app", "--client-secret-file", "-", "--json")
    assert as_json(call(*add, input=f"{CLIENT_SECRET}\n"))["owners"] == []


def test_the_environments_secret_is_not_used_with_another_apps_id(
    home_environ: dict[str, str], shopify: FakeShopify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOPIFY_CLIENT_ID", "first-app")
    monkeypatch.setenv("SHOPIFY_CLIENT_SECRET", "shpss_first")
    result = call("shop", "add", DOMAIN, "--client-id", "second-app")
    assert "--client-secret-file" in str(result.exception)
    assert shopify.requests == []
    assert as_json(call("shop", "add", DOMAIN, "--json"))["shop"] == DOMAIN


def test_no_option_takes_a_secret_as_its_value() -> None:
    """Every user of the machine sees the arguments of a process."""
    shown = call("shop", "add", "--help").output
    assert "--client-secret-file" in shown
    assert "--client-secret " not in shown


def test_shops_are_listed_with_how_they_stand(
    home_environ: dict[str, str], session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        well = add_shop(session, settings, access_scopes=["read_all_orders", "read_orders"])
        add_shop(
            session,
            settings,
            domain="gone.myshopify.com",
            uninstalled_at=NOW(),
            webhooks_problem="Shopify does not tell us of: ORDERS_PAID (no).",
        )
        session.add(
            SyncRun(
                shop_id=well.shop_id,
                kind=SyncKind.FULL,
                state=SyncState.COMPLETED,
                started_at=NOW(),
                finished_at=NOW() - timedelta(hours=30),
            )
        )
        session.add(failed_message(well.shop_id, "w1"))
    well_listed, gone = as_json(call("shop", "list", "--json"))["shops"]
    assert (well_listed["shop"], well_listed["state"], well_listed["sync"]) == (
        DOMAIN,
        "connected",
        "stale",
    )
    assert 30 * 3600 <= well_listed["sync_age_seconds"] < 31 * 3600
    assert well_listed["missing_scopes"] == ["read_customers", "write_customers", "read_products"]
    assert well_listed["failed_webhooks"] == 1
    assert (gone["state"], gone["sync_age_seconds"]) == ("uninstalled", None)
    shown = call("shop", "list").output.splitlines()
    assert "last sync 1 d ago; failed webhooks: 1; lacks read_customers" in shown[0]
    assert "last sync never; lacks" in shown[1]
    assert "Shopify does not tell us of: ORDERS_PAID" in shown[1]


def failed_message(shop_id: int, webhook_id: str) -> InboxMessage:
    return InboxMessage(
        shop_id=shop_id,
        webhook_id=webhook_id,
        topic="orders/create",
        body=b'{"email": "ada@example.com"}',
        state=InboxState.FAILED,
        error="no id",
        attempts=9,
    )


def test_failed_webhooks_are_listed_without_their_bodies_and_tried_again(
    home_environ: dict[str, str], session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id
        session.add_all([failed_message(shop_id, "w1"), failed_message(shop_id, "w2")])
    result = call("inbox", "list", "--json")
    listed = as_json(result)["webhooks"]
    assert {each["webhook_id"] for each in listed} == {"w1", "w2"}
    assert {each["error"] for each in listed} == {"no id"}
    assert "example.com" not in result.output
    assert as_json(call("inbox", "retry", "w1", "--json")) == {"retried": 1}
    with session_scope(session_factory) as session:
        due = session.scalars(
            select(InboxMessage.webhook_id).where(InboxMessage.next_attempt_at.is_not(None))
        ).all()
    assert due == ["w1"]


def test_the_log_is_told_newest_last(
    home_environ: dict[str, str], session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id
        run = SyncRun(
            shop_id=shop_id,
            kind=SyncKind.RECONCILE,
            state=SyncState.COMPLETED,
            started_at=NOW(),
        )
        session.add(run)
        session.flush()
        number = run.sync_run_id
    log = SyncLog(session_factory, shop_id, number, SystemClock())
    for words in ("one", "two", "three"):
        log.info(words)
    entries = as_json(call("log", "-n", "2", "--json"))["log"]
    assert [entry["message"] for entry in entries] == ["two", "three"]
    assert (entries[0]["shop"], entries[0]["kind"]) == (DOMAIN, "reconcile")
    assert f"{DOMAIN} #{number} reconcile: three" in call("log").output


class FakeDagster(DagsterApi):
    """Runs nothing; ends as told, after what `meanwhile` does."""

    def __init__(self, factory: SessionFactory, shop_id: int, status: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self.factory, self.shop_id, self.end = factory, shop_id, status
        self.launched: list[tuple[str, str | None]] = []

    def add_partition(self, partition_set: str, key: str, *, location: str) -> None:
        pass

    def launch(self, job: str, *, partition: str | None = None, **_: Any) -> str:
        self.launched.append((job, partition))
        return "run-1"

    def wait(self, run_id: str, **_: Any) -> JobRun:
        with session_scope(self.factory) as session:
            [request] = session.scalars(select(SyncRequest)).all()
            assert (request.state, request.run_id) == (SyncRequestState.LAUNCHED, run_id)
            failed = self.end != "SUCCESS"
            session.add(
                SyncRun(
                    shop_id=self.shop_id,
                    kind=request.kind,
                    state=SyncState.FAILED if failed else SyncState.COMPLETED,
                    run_id=run_id,
                    started_at=NOW(),
                    error="The shop is frozen." if failed else None,
                    report={"orders": {"held": 3}},
                )
            )
        return JobRun(run_id, self.end, "trace" if failed else None)


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
@pytest.mark.parametrize("kind", ["auto", "reconcile"])
def test_a_sync_from_here_is_a_request_like_any_other_and_over_when_it_is(
    session_factory: SessionFactory, settings: Settings, kind: str, status: str
) -> None:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id
    dagster = FakeDagster(session_factory, shop_id, status)

    def ask() -> object:
        if kind == "reconcile":
            return shops.reconcile_shop(dagster, session_factory, DOMAIN, progress=Progress())
        return shops.sync_shop(dagster, session_factory, DOMAIN, kind="auto", progress=Progress())

    if status == "SUCCESS":
        ask()
    else:
        with pytest.raises(Exception, match="ended as FAILURE"):
            ask()
    with session_scope(session_factory) as session:
        [request] = session.scalars(select(SyncRequest)).all()
    wanted = SyncKind.RECONCILE if kind == "reconcile" else SyncKind.FULL  # never synced before
    assert (request.kind, request.requested_by) == (wanted, "cli")
    assert request.state.value == ("completed" if status == "SUCCESS" else "failed")
    assert request.error == (None if status == "SUCCESS" else "The shop is frozen.")
