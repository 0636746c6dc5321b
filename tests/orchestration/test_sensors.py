import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from activation.automation.presets import ABANDONED_CART, VIP, seed_presets
from activation.liveness import LOCK, hold
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import Automation, CustomerTouch, Shop, SyncRun
from core.models.enums import SyncKind, SyncState
from core.settings import Settings
from orchestration.activation.definitions import defs
from orchestration.activation.defs.delivery.assets import end_dead_runs
from orchestration.activation.defs.delivery.sensors import (
    abandoned_checkout_sensor,
    due_step_sensor,
    new_order_sensor,
    segment_change_sensor,
)
from orchestration.platform.defs.ingestion.sensors import new_shop_sensor
from orchestration.platform.defs.segmentation.sensors import first_scores_sensor
from orchestration.shared.names import ACTIVATION_JOB
from orchestration.shared.runtime import Runtime

pytestmark = pytest.mark.usefixtures("process_environment")


@pytest.fixture
def context() -> Iterator[dg.SensorEvaluationContext]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield dg.build_sensor_context(instance=instance, resources={"runtime": Runtime()})


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def touch_a_customer(session: Session, *, baseline_at: datetime | None = NOON) -> None:
    """In a shop whose first sync is complete, and its membership baseline unless None is given."""
    shop = Shop(
        domain="x.myshopify.com",
        name="X",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="-",
        first_sync_started_at=NOON,
        first_sync_completed_at=NOON,
        baseline_at=baseline_at,
        created_at=NOON - timedelta(days=365),
    )
    session.add(shop)
    session.flush()
    session.add(CustomerTouch(shop_id=shop.shop_id, customer_id=1, touched_at=NOON))
    session.commit()


@pytest.mark.requirement("PIPE-01")
def test_a_touched_customer_launches_the_activation_run(
    context: dg.SensorEvaluationContext, session: Session
) -> None:
    assert isinstance(new_order_sensor(context), dg.SkipReason)
    touch_a_customer(session)
    assert isinstance(new_order_sensor(context), dg.RunRequest)


def test_no_second_run_is_launched_while_one_is_at_work(
    context: dg.SensorEvaluationContext, session: Session, settings: Settings
) -> None:
    touch_a_customer(session)
    with hold(settings.listen_url) as alone:
        assert alone
        result = new_order_sensor(context)
    assert isinstance(result, dg.SkipReason)
    # Once in a while this was still skipped: the lock went only when the backend of the closed
    # connection noticed, a moment after the run was over.
    assert isinstance(new_order_sensor(context), dg.RunRequest)


def test_a_run_that_finds_another_at_work_ends_without_a_claim(
    session: Session, settings: Settings
) -> None:
    """It used to materialize every table, as if it had worked."""
    with hold(settings.listen_url) as alone, dg.DagsterInstance.ephemeral() as instance:
        assert alone
        result = run_activation_here(instance)
    assert result.success
    assert result.get_asset_materialization_events() == []


def test_runs_that_are_dead_are_ended_once_they_are_old_enough(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose code server was killed stayed STARTED for ever."""
    with dg.DagsterInstance.ephemeral() as instance:
        dead = instance.create_run_for_job(
            activation_job(), status=dg.DagsterRunStatus.STARTED
        ).run_id
        assert end_dead_runs(instance, alive="another") == []  # it may be starting
        assert end_dead_runs(instance, alive=dead, older_than=timedelta(days=-1)) == []
        assert end_dead_runs(instance, alive="another", older_than=timedelta(days=-1)) == [dead]
        run = instance.get_run_by_id(dead)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE


def activation_job() -> dg.JobDefinition:
    return defs.get_repository_def().get_job(ACTIVATION_JOB)


def run_activation_here(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return activation_job().execute_in_process(instance=instance)


@pytest.mark.parametrize(
    ("key", "sensor"),
    [(ABANDONED_CART, abandoned_checkout_sensor), (VIP, segment_change_sensor)],
)
def test_moments_that_no_order_announces_launch_the_activation_run(
    context: dg.SensorEvaluationContext,
    session: Session,
    session_factory: SessionFactory,
    *,
    key: str,
    sensor: dg.SensorDefinition,
) -> None:
    touch_a_customer(session)
    with session_scope(session_factory) as other:
        shop_id = other.scalars(select(Shop)).one().shop_id
        seed_presets(other, shop_id, now=NOON)
    assert isinstance(sensor(context), dg.SkipReason)
    set_flow(session_factory, key, is_active=True, switched_on_at=NOON, **evaluated(key))
    assert isinstance(sensor(context), dg.RunRequest)
    set_flow(session_factory, key, evaluated_at=SystemClock().now(), evaluated_version=1)
    assert isinstance(sensor(context), dg.SkipReason)


def evaluated(key: str) -> dict[str, object]:
    """A flow by segments was looked at for everyone before a full run, one by carts never."""
    return {"evaluated_at": NOON, "evaluated_version": None} if key == VIP else {}


def set_flow(factory: SessionFactory, key: str, **columns: object) -> None:
    with session_scope(factory) as session:
        flow = session.scalars(select(Automation).where(Automation.key == key)).one()
        for name, value in columns.items():
            setattr(flow, name, value)


def test_a_run_that_died_keeps_nobody_out(
    context: dg.SensorEvaluationContext, session: Session, settings: Settings
) -> None:
    touch_a_customer(session)
    url = make_url(settings.listen_url).set(drivername="postgresql")
    dying = psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)
    dying.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    assert isinstance(new_order_sensor(context), dg.SkipReason)
    dying.close()  # as the kernel does for a killed process: without a word about the lock
    deadline = time.monotonic() + 10
    while isinstance(new_order_sensor(context), dg.SkipReason) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert isinstance(new_order_sensor(context), dg.RunRequest)


def test_a_first_sync_that_cannot_start_is_not_started_every_half_minute(
    context: dg.SensorEvaluationContext, session: Session
) -> None:
    """With a secret that cannot be decrypted, say, a run dies before it has written a sync run: the
    sensor asked for another at every tick, for ever. Dagster starts one run per run key.
    """
    touch_a_customer(session)
    keys = {each.run_key for each in [*_first_syncs(context), *_first_syncs(context)]}
    assert None not in keys
    assert len(keys) <= 2  # one an hour; the test may see the hour change


@pytest.mark.parametrize(
    ("state", "completed", "is_asked_for"),
    [
        (SyncState.FAILED, None, True),
        (SyncState.RUNNING, None, False),
        (SyncState.COMPLETED, NOON, False),
        (SyncState.FAILED, NOON, False),
    ],
)
def test_a_first_sync_is_tried_again_until_one_completes(
    context: dg.SensorEvaluationContext,
    session: Session,
    session_factory: SessionFactory,
    *,
    state: SyncState,
    completed: datetime | None,
    is_asked_for: bool,
) -> None:
    """One that failed was not tried again before the night: a shop that was connected while
    Shopify had trouble stayed empty for a day."""
    touch_a_customer(session)
    with session_scope(session_factory) as other:
        shop = other.scalars(select(Shop)).one()
        shop.first_sync_completed_at = completed
        other.add(SyncRun(shop_id=shop.shop_id, kind=SyncKind.FULL, state=state, started_at=NOON))
    assert isinstance(new_shop_sensor(context), dg.SensorResult) == is_asked_for


def test_a_shop_that_removed_the_app_is_not_read(
    context: dg.SensorEvaluationContext, session: Session, session_factory: SessionFactory
) -> None:
    touch_a_customer(session)
    with session_scope(session_factory) as other:
        other.scalars(select(Shop)).one().uninstalled_at = NOON
    assert isinstance(new_shop_sensor(context), dg.SkipReason)


def _first_syncs(context: dg.SensorEvaluationContext) -> Sequence[dg.RunRequest]:
    result = new_shop_sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert result.run_requests
    return list(result.run_requests)


def test_due_steps_are_not_due_in_an_empty_shop(context: dg.SensorEvaluationContext) -> None:
    assert isinstance(due_step_sensor(context), dg.SkipReason)


def test_only_one_session_holds_the_lock(settings: Settings) -> None:
    with hold(settings.listen_url) as first, hold(settings.listen_url) as second:
        assert (first, second) == (True, False)


def test_a_synced_shop_that_was_never_scored_is_scored(
    context: dg.SensorEvaluationContext, session: Session
) -> None:
    # A shop connected without `ecomcrm` had no segments, and no flow, until the next night.
    assert isinstance(first_scores_sensor(context), dg.SkipReason)
    touch_a_customer(session, baseline_at=None)
    first = first_scores_sensor(context)
    again = first_scores_sensor(context)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(again, dg.RunRequest)
    assert first.run_key == again.run_key
