"""Syncs that people ask for: one run each, never lost, never twice, and over when the run is."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dagster as dg
import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database import SessionFactory, session_scope
from core.ingestion import runs
from core.ingestion.requests import request_sync
from core.models import SyncRequest, SyncRun
from core.models.enums import SyncKind, SyncRequestState, SyncState
from core.settings import Settings
from orchestration.platform.defs.ingestion.requests import CANCELED, FAILED, LOST
from orchestration.platform.defs.ingestion.sensors import sync_request_sensor
from orchestration.shared.names import RECONCILE_JOB, REQUEST_TAG, SYNC_JOB
from orchestration.shared.runtime import Runtime
from tests.fixtures.shopify import DOMAIN, add_shop

pytestmark = pytest.mark.usefixtures("process_environment")
STARTED = dg.DagsterRunStatus.STARTED


class World:
    """A shop, and a Dagster that starts what the sensor asks for, one run per key as it does."""

    def __init__(self, instance: dg.DagsterInstance, factory: SessionFactory, shop_id: int) -> None:
        self.instance = instance
        self.factory = factory
        self.shop_id = shop_id
        self.keys: set[str] = set()

    def ask(self, kind: SyncKind = SyncKind.INCREMENTAL, *, shop_id: int | None = None) -> int:
        with session_scope(self.factory) as session:
            return request_sync(session, shop_id or self.shop_id, kind, requested_by="user:1")

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance=self.instance, resources={"runtime": Runtime()})
        result = sync_request_sensor(context)
        return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []

    def start(self, request: dg.RunRequest) -> str | None:
        """Dagster's run of it; None where the key had one."""
        assert request.run_key
        if request.run_key in self.keys:
            return None
        self.keys.add(request.run_key)
        run_id = str(uuid.uuid4())
        self.instance.add_run(
            dg.DagsterRun(
                job_name=request.job_name or "",
                run_id=run_id,
                status=STARTED,
                tags=dict(request.tags),
                run_config=request.run_config,
            )
        )
        return run_id

    def launch(self) -> str:
        [request] = self.tick()
        run_id = self.start(request)
        assert run_id
        return run_id

    def end_run(self, run_id: str, status: dg.DagsterRunStatus) -> None:
        """As the instance writes it; an event would need the job's code."""
        run = self.instance.get_run_by_id(run_id)
        assert run
        self.instance.delete_run(run_id)
        self.instance.add_run(
            dg.DagsterRun(job_name=run.job_name, run_id=run_id, status=status, tags=run.tags)
        )

    def sync_run(self, run_id: str, state: SyncState, error: str | None = None) -> None:
        with session_scope(self.factory) as session:
            known = session.scalars(select(SyncRun).where(SyncRun.run_id == run_id)).first()
            if known is None:
                known = SyncRun(
                    shop_id=self.shop_id,
                    kind=SyncKind.INCREMENTAL,
                    run_id=run_id,
                    started_at=datetime.now(UTC),
                )
                session.add(known)
            known.state, known.error = state, error

    def state(self, number: int) -> tuple[SyncRequestState, str | None, str | None]:
        with session_scope(self.factory) as session:
            request = session.scalars(
                select(SyncRequest).where(SyncRequest.sync_request_id == number)
            ).one()
            return request.state, request.run_id, request.error


@pytest.fixture
def world(session_factory: SessionFactory, settings: Settings) -> Iterator[World]:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance, session_factory, shop_id)


@pytest.mark.parametrize(
    ("kind", "job", "asked"),
    [
        (SyncKind.FULL, SYNC_JOB, {"kind": "full"}),
        (SyncKind.INCREMENTAL, SYNC_JOB, {"kind": "incremental"}),
        (SyncKind.RECONCILE, RECONCILE_JOB, None),
    ],
)
def test_a_request_asks_for_its_job_and_shop(
    world: World, kind: SyncKind, job: str, asked: dict[str, str] | None
) -> None:
    assert world.tick() == []
    number = world.ask(kind)
    [request] = world.tick()
    assert (request.job_name, request.partition_key) == (job, DOMAIN)
    assert request.tags[REQUEST_TAG] == request.run_key == f"{world.shop_id}/{number}"
    config = request.run_config.get("ops", {}).get("shopify_raw", {}).get("config")
    assert config == asked


def test_a_tick_whose_answer_is_lost_is_repeated_under_the_same_key(world: World) -> None:
    world.ask()
    [lost] = world.tick()
    [again] = world.tick()
    assert lost.run_key == again.run_key
    assert world.start(lost)
    assert world.start(again) is None
    assert world.tick() == []


def test_a_request_is_over_when_its_sync_is(world: World) -> None:
    number = world.ask()
    run_id = world.launch()
    assert world.state(number) == (SyncRequestState.REQUESTED, None, None)
    with runs.only_one(world.factory, world.shop_id):
        world.sync_run(run_id, SyncState.RUNNING)
        world.tick()
        assert world.state(number) == (SyncRequestState.LAUNCHED, run_id, None)
        world.sync_run(run_id, SyncState.COMPLETED)
    world.tick()
    assert world.state(number) == (SyncRequestState.COMPLETED, run_id, None)
    assert world.tick() == []


def test_a_request_waits_while_its_shop_is_at_work(world: World) -> None:
    first = world.ask()
    with runs.only_one(world.factory, world.shop_id):  # the nightly sync, say
        assert world.tick() == []
    run_id = world.launch()
    second = world.ask(SyncKind.FULL)
    assert world.tick() == []
    assert world.state(first)[0] is SyncRequestState.LAUNCHED
    world.sync_run(run_id, SyncState.COMPLETED)
    assert [request.run_key for request in world.tick()] == [f"{world.shop_id}/{second}"]


def test_another_shop_does_not_wait(world: World, settings: Settings) -> None:
    with session_scope(world.factory) as session:
        other = add_shop(session, settings, domain="other.myshopify.com").shop_id
    world.ask()
    world.ask(shop_id=other)
    with runs.only_one(world.factory, world.shop_id):
        assert [request.partition_key for request in world.tick()] == ["other.myshopify.com"]


def test_a_sync_whose_process_died_ends_as_failed_though_dagster_calls_it_started(
    world: World,
) -> None:
    number = world.ask()
    run_id = world.launch()
    world.sync_run(run_id, SyncState.RUNNING)
    world.tick()  # nobody holds the shop's lock
    state, _, error = world.state(number)
    assert (state, error) == (SyncRequestState.FAILED, runs.DIED)
    with session_scope(world.factory) as session:
        sync_run = session.scalars(select(SyncRun)).one()
        assert (sync_run.state, sync_run.error) == (SyncState.FAILED, runs.DIED)


@pytest.mark.parametrize(
    ("status", "error"),
    [(dg.DagsterRunStatus.FAILURE, FAILED), (dg.DagsterRunStatus.CANCELED, CANCELED)],
)
def test_a_run_that_ended_before_it_began_ends_the_request_in_words(
    world: World, status: dg.DagsterRunStatus, error: str
) -> None:
    number = world.ask()
    run_id = world.launch()
    world.end_run(run_id, status)
    world.tick()
    assert world.state(number) == (SyncRequestState.FAILED, run_id, error)


def test_a_failed_sync_tells_the_request_why(world: World) -> None:
    number = world.ask()
    run_id = world.launch()
    world.sync_run(run_id, SyncState.FAILED, "The shop is frozen.")
    world.tick()
    assert world.state(number) == (SyncRequestState.FAILED, run_id, "The shop is frozen.")


def test_a_run_that_dagster_has_forgotten_ends_the_request(world: World) -> None:
    number = world.ask()
    run_id = world.launch()
    world.tick()
    world.instance.delete_run(run_id)
    world.tick()
    assert world.state(number) == (SyncRequestState.FAILED, run_id, LOST)


def test_a_run_that_never_began_is_given_up_after_an_hour(world: World, session: Session) -> None:
    number = world.ask()
    run_id = world.launch()
    world.tick()
    assert world.state(number)[0] is SyncRequestState.LAUNCHED
    request = session.scalars(select(SyncRequest)).one()
    request.launched_at = datetime.now(UTC) - timedelta(hours=1, seconds=1)
    session.commit()
    world.tick()
    assert world.state(number) == (SyncRequestState.FAILED, run_id, LOST)


def test_asking_twice_for_what_has_not_begun_is_one_request(world: World) -> None:
    assert world.ask() == world.ask()
    assert len(world.tick()) == 1


class Play:
    """One shop, its requests, and runs that begin, end or die in whatever order it is told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: set[int] = set()
        self.starting: list[str] = []
        self.at_work: str | None = None
        self.lock = ExitStack()
        self.ended: dict[str, SyncRequestState] = {}

    def do(self, action: str) -> None:
        getattr(self, action)()
        # Never two runs of a shop, whatever was lost on the way.
        assert len(self.starting) + (self.at_work is not None) <= 1

    def ask(self) -> None:
        self.asked.add(self.world.ask(SyncKind.FULL))

    def ask_for_changes(self) -> None:
        self.asked.add(self.world.ask(SyncKind.INCREMENTAL))

    def tick(self) -> None:
        started = [self.world.start(request) for request in self.world.tick()]
        self.starting += [run_id for run_id in started if run_id]

    def lose_a_tick(self) -> None:
        """The daemon dies with the sensor's answer in its hands."""
        self.world.tick()

    def begin(self) -> None:
        if self.starting and self.at_work is None:
            self.at_work = self.starting.pop()
            self.lock.enter_context(runs.only_one(self.world.factory, self.world.shop_id))
            self.world.sync_run(self.at_work, SyncState.RUNNING)

    def never_begin(self) -> None:
        if self.starting:
            run_id = self.starting.pop()
            self.world.end_run(run_id, dg.DagsterRunStatus.FAILURE)
            self.ended[run_id] = SyncRequestState.FAILED

    def complete(self) -> None:
        self._end(SyncState.COMPLETED, SyncRequestState.COMPLETED)

    def fail(self) -> None:
        self._end(SyncState.FAILED, SyncRequestState.FAILED)

    def die(self) -> None:
        """Dagster goes on calling it STARTED, our row `running`; only the lock is gone."""
        self._end(None, SyncRequestState.FAILED)

    def _end(self, state: SyncState | None, outcome: SyncRequestState) -> None:
        if self.at_work is None:
            return
        if state:
            self.world.sync_run(self.at_work, state, "words" if state is SyncState.FAILED else None)
        self.lock.close()
        self.ended[self.at_work] = outcome
        self.at_work = None

    def finish(self) -> None:
        for _ in range(3 * len(self.asked) + 3):
            for action in ("tick", "begin", "complete"):
                self.do(action)
        self.tick()


ACTIONS = [
    *("ask", "ask_for_changes", "tick", "lose_a_tick", "begin", "never_begin"),
    *("complete", "fail", "die"),
]


@hypothesis.settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(ACTIONS), max_size=25))
def test_whatever_dies_on_the_way_each_request_has_one_run_and_its_outcome(
    world: World, settings: Settings, actions: list[str]
) -> None:
    with session_scope(world.factory) as session:
        domain = f"s{uuid.uuid4().hex}.myshopify.com"
        world.shop_id = add_shop(session, settings, domain=domain).shop_id
    play = Play(world)
    for action in actions:
        play.do(action)
    play.finish()
    with session_scope(world.factory) as session:
        requests = session.scalars(
            select(SyncRequest).where(SyncRequest.shop_id == world.shop_id)
        ).all()
    assert {request.sync_request_id for request in requests} == play.asked
    outcomes = {request.run_id: request.state for request in requests}
    assert len(outcomes) == len(requests)
    assert outcomes == play.ended
