"""Runs of the ingestion jobs, good and bad, end to end in this process."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from core.database import SessionFactory, session_scope
from core.ingestion import runs
from core.ingestion.requests import mark_launched, request_sync
from core.ingestion.status import STALE_AFTER, Face, sync_status
from core.models import Shop, SyncRequest, SyncRun
from core.models.enums import SyncKind, SyncRequestState, SyncState
from core.secrets import SecretBox
from core.settings import Settings
from orchestration.platform.defs.ingestion import schedules
from orchestration.platform.defs.ingestion.assets import reconciliation, shopify_raw
from orchestration.platform.defs.ingestion.checks import synced_within_a_day
from orchestration.platform.defs.ingestion.jobs import reconcile_shop, sync_shop
from orchestration.platform.defs.ingestion.requests import CANCELED
from orchestration.platform.defs.ingestion.sensors import (
    canceled_sync_sensor,
    failed_sync_sensor,
)
from orchestration.shared import runtime
from orchestration.shared.names import RECONCILE_JOB, SHOPS_PARTITIONS, SYNC_JOB
from orchestration.shared.runtime import Runtime
from tests.fixtures.shopify import (
    DOMAIN,
    FakeShopify,
    add_shop,
    child,
    customer_node,
    order_node,
)

pytestmark = pytest.mark.usefixtures("process_environment")

DEFS = dg.Definitions(
    assets=[shopify_raw, reconciliation],
    jobs=[sync_shop, reconcile_shop],
    resources={"runtime": Runtime()},
    executor=dg.in_process_executor,
)


@pytest.fixture
def shop_id(session_factory: SessionFactory, settings: Settings) -> int:
    with session_scope(session_factory) as session:
        return add_shop(session, settings).shop_id


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(SHOPS_PARTITIONS, [DOMAIN])
        yield made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeShopify:
    """A shop of three orders, in place of the vendor."""
    shopify = FakeShopify(
        customers=[customer_node(1), customer_node(2)],
        orders=[line for each in (11, 12, 13) for line in (order_node(each, 1), child(each, each))],
    )
    monkeypatch.setattr(runtime, "shopify_client", lambda _shop_id: shopify.client())
    return shopify


def run(
    instance: dg.DagsterInstance, job: str = SYNC_JOB, **options: Any
) -> dg.ExecuteInProcessResult:
    return DEFS.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=DOMAIN, raise_on_error=False, **options
    )


def fail(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """What the daemon does about a failed run."""
    context = dg.build_run_status_sensor_context(
        sensor_name="failed_sync_sensor",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"runtime": Runtime()},
    ).for_run_failure()
    failed_sync_sensor(context)


def sync_runs(factory: SessionFactory) -> list[SyncRun]:
    with session_scope(factory) as session:
        return list(session.scalars(select(SyncRun).order_by(SyncRun.sync_run_id)))


@pytest.mark.requirement("SHOP-02")
def test_a_sync_tells_dagster_what_it_read(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    result = run(instance)
    assert result.success
    told = {
        event.asset_key.path[-1]: event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert {
        name: metadata["rows"].value for name, metadata in told.items() if "rows" in metadata
    } == {
        "customers": 2,
        "orders": 3,
        "order_lines": 3,
        "checkouts": 0,
        "products": 0,
    }
    [stored] = sync_runs(session_factory)
    assert (stored.kind, stored.run_id) == (SyncKind.FULL, result.run_id)
    assert "example.com" not in str(told)


def test_a_reconciliation_tells_dagster_what_differs(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    assert run(instance).success
    fake.orders += [order_node(14, 2), child(14, 14)]
    result = run(instance, RECONCILE_JOB)
    assert result.success
    [event] = result.get_asset_materialization_events()
    orders = event.materialization.metadata["orders"].value
    assert isinstance(orders, dict)
    assert (orders["shopify"], orders["held"], orders["missing"]) == (4, 3, 1)


def test_a_run_that_fails_before_it_began_is_a_failed_sync_in_words(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int
) -> None:
    """It left no trace but in Dagster: the shop looked synced, or as if nobody had tried."""
    with session_scope(session_factory) as session:
        other_key = SecretBox(SecretStr("another key of thirty-two letters"))
        session.get_one(Shop, shop_id).client_secret_encrypted = other_key.encrypt("x")
        number = request_sync(session, shop_id, SyncKind.FULL, requested_by="cli")
    config = schedules.sync_config("full")
    result = run(instance, run_config=config)
    assert not result.success
    with session_scope(session_factory) as session:
        request = session.get_one(SyncRequest, (shop_id, number))
        mark_launched(session, request, result.run_id)
    for _ in range(2):  # the daemon may tell it again
        fail(instance, result)
    [stored] = sync_runs(session_factory)
    assert (stored.kind, stored.state) == (SyncKind.FULL, SyncState.FAILED)
    assert stored.error is not None
    assert "A stored secret cannot be read" in stored.error
    with session_scope(session_factory) as session:
        request = session.get_one(SyncRequest, (shop_id, number))
        assert (request.state, request.error) == (SyncRequestState.FAILED, stored.error)


def test_a_run_that_another_sync_turned_away_is_no_failed_sync(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    assert run(instance).success
    with runs.only_one(session_factory, shop_id):
        result = run(instance)
    assert not result.success
    fail(instance, result)
    assert [each.state for each in sync_runs(session_factory)] == [SyncState.COMPLETED]
    with session_scope(session_factory) as session:
        now = Runtime().clock.now()
        assert sync_status(session, shop_id, now=now).face is Face.IDLE


def test_a_failed_sync_keeps_its_own_words(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    fake.before.append(
        lambda request: httpx.Response(402) if "graphql" in request.url.path else None
    )
    result = run(instance)
    assert not result.success
    [before] = sync_runs(session_factory)
    assert before.state is SyncState.FAILED
    assert "frozen" in (before.error or "")
    fail(instance, result)
    [after] = sync_runs(session_factory)
    assert (after.state, after.error) == (SyncState.FAILED, before.error)


def test_a_cancelled_run_is_a_failed_sync(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    result = run(instance)
    with session_scope(session_factory) as session:
        session.scalars(select(SyncRun)).one().state = SyncState.RUNNING  # as it was when it died
    context = dg.build_run_status_sensor_context(
        sensor_name="canceled_sync_sensor",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_success_event(),
        resources={"runtime": Runtime()},
    )
    canceled_sync_sensor(context)
    [stored] = sync_runs(session_factory)
    assert (stored.state, stored.error) == (SyncState.FAILED, CANCELED)


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        (schedules.nightly_sync_schedule, None),
        (schedules.weekly_full_sync_schedule, "full"),
        (schedules.weekly_reconciliation_schedule, None),
    ],
)
def test_the_night_asks_for_every_shop_that_is_there_and_idle(
    session_factory: SessionFactory,
    settings: Settings,
    shop_id: int,
    tmp_path: Path,
    *,
    schedule: dg.ScheduleDefinition,
    kind: str | None,
) -> None:
    with session_scope(session_factory) as session:
        now = Runtime().clock.now()
        busy = add_shop(session, settings, domain="busy.myshopify.com").shop_id
        add_shop(session, settings, domain="gone.myshopify.com", uninstalled_at=now)
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as fresh,
        dg.build_schedule_context(
            instance=fresh,
            resources={"runtime": Runtime()},
            repository_def=DEFS.get_repository_def(),
        ) as context,
        runs.only_one(session_factory, busy),
    ):
        [request] = schedule.evaluate_tick(context).run_requests or []
        assert request.partition_key == DOMAIN
        asked = request.run_config.get("ops", {}).get("shopify_raw", {}).get("config", {})
        assert asked.get("kind") == kind
        assert fresh.get_dynamic_partitions(SHOPS_PARTITIONS) == [DOMAIN]


@pytest.mark.requirement("SHOP-09")
def test_a_shop_without_a_sync_for_a_day_fails_the_check(
    instance: dg.DagsterInstance, session_factory: SessionFactory, shop_id: int, fake: FakeShopify
) -> None:
    def check() -> dg.AssetCheckResult:
        result = synced_within_a_day(Runtime())
        assert isinstance(result, dg.AssetCheckResult)
        return result

    assert not check().passed
    assert run(instance).success
    assert check().passed
    with session_scope(session_factory) as session:
        stored = session.scalars(select(SyncRun)).one()
        stored.finished_at = Runtime().clock.now() - STALE_AFTER - timedelta(seconds=1)
    assert not check().passed
    with session_scope(session_factory) as session:
        session.get_one(Shop, shop_id).uninstalled_at = Runtime().clock.now()
    assert check().passed
