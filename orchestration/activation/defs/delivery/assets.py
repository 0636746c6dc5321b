"""The activation run: everything that is due, in one run for all shops, and what comes after it."""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Final

import dagster as dg

from activation.cycle import Cycle, run_due
from activation.cycle_report import CycleReport
from activation.lingering import Terms, linger
from activation.liveness import Line
from activation.outbox.crew import SENDERS
from activation.outbox.pacing import pace_of
from activation.provider.choice import provider_of
from core.models import Enrollment, Message, PrivacyRequest, WriteBack
from orchestration.shared.columns import table_metadata
from orchestration.shared.names import (
    ACTIVATION_JOB,
    DELIVERY,
    ENROLLMENTS,
    MESSAGES,
    OWNERS,
    PRIVACY_REQUESTS,
    SEGMENT_MEMBERSHIPS,
    WRITE_BACKS,
)
from orchestration.shared.runtime import Runtime

_KINDS = {"postgres"}

# A run takes 1 to 4 s from its request until it holds the lock. Dagster's status is only a hint
# for that gap: a run that died in it must not keep others out for ever.
STARTING: Final = timedelta(seconds=20)

OPEN_STATUSES: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

# Which counts of a run tell that rows of an asset changed.
_COUNTED: Final = {
    ENROLLMENTS: ("enrolled", "too_late", "exited"),
    MESSAGES: ("messages_queued", "messages_skipped", "requests", "events_matched"),
    WRITE_BACKS: ("write_backs_done",),
    PRIVACY_REQUESTS: ("people_exported", "people_erased"),
}


@dg.multi_asset(
    name="activation",
    group_name=DELIVERY,
    # Skippable: a run that finds another at work has made nothing.
    specs=[
        dg.AssetSpec(
            ENROLLMENTS,
            deps=[SEGMENT_MEMBERSHIPS],
            description="One row per customer, automation and entry key.",
            kinds=_KINDS,
            owners=OWNERS,
            skippable=True,
            metadata=table_metadata(Enrollment),
        ),
        dg.AssetSpec(
            MESSAGES,
            deps=[ENROLLMENTS],
            description="The ledger: one row per message owed, sent or skipped, with its reason.",
            kinds=_KINDS | {"resend"},
            owners=OWNERS,
            skippable=True,
            metadata=table_metadata(Message),
        ),
        dg.AssetSpec(
            WRITE_BACKS,
            deps=[ENROLLMENTS],
            description="One row per tag or consent that Shopify is to be told of.",
            kinds=_KINDS | {"shopify"},
            owners=OWNERS,
            skippable=True,
            metadata=table_metadata(WriteBack),
        ),
        dg.AssetSpec(
            PRIVACY_REQUESTS,
            description="One row per request of a compliance webhook: exports and erasures.",
            kinds=_KINDS,
            owners=OWNERS,
            skippable=True,
            metadata=table_metadata(PrivacyRequest),
        ),
    ],
)
def activation(
    context: dg.AssetExecutionContext, runtime: Runtime
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # generic over an in-memory value
    with _line_of(runtime) as line:
        if not line.take():
            # The other run does everything due, this run's work included.
            context.log.info("Another activation run is at work.")
            return
        end_dead_runs(context.instance, alive=context.run_id)
        counts = _run(context, runtime, line)
    for key in _COUNTED:
        yield dg.MaterializeResult(asset_key=key, metadata={**counts})


def _run(context: dg.AssetExecutionContext, runtime: Runtime, line: Line) -> Mapping[str, float]:
    began = time.monotonic()
    settings = runtime.settings
    with provider_of(settings) as provider:
        cycle = Cycle(
            factory=runtime.factory,
            settings=settings,
            clock=runtime.clock,
            provider=provider,
            client_of=runtime.client_of,
            run_id=context.run_id,
            stop=line.stop.is_set,
            at_once=pace_of(settings, provider).batches_at_once,
            senders=SENDERS,
        )
        report = _work(context, cycle, line)
    counts = report.counts()
    context.log.info("%s", ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "idle")
    return {**counts, "seconds": round(time.monotonic() - began, 3)}


def _work(context: dg.AssetExecutionContext, cycle: Cycle, line: Line) -> CycleReport:
    idle = timedelta(seconds=cycle.settings.activation_idle_seconds)
    if not idle:
        report = run_due(cycle)
        _tell_memberships(context, report.counts())
        return report
    lifetime = timedelta(seconds=cycle.settings.activation_lifetime_seconds)
    told: Counter[str] = Counter()

    def tell(done: Mapping[str, int]) -> None:
        told.update(done)
        _tell(context, done)

    report = linger(cycle, line, Terms(idle=idle, lifetime=lifetime), tell=tell)
    rest = {name: count - told[name] for name, count in report.counts().items()}
    _tell_memberships(context, rest)
    return report


def _tell(context: dg.AssetExecutionContext, done: Mapping[str, int]) -> None:
    """What the run has done since it last told, on the pages of what it changed."""
    for key, counted in _COUNTED.items():
        if any(done[name] for name in counted):
            context.log_event(dg.AssetMaterialization(key, metadata={**done}))
    _tell_memberships(context, done)


def _tell_memberships(context: dg.AssetExecutionContext, counts: Mapping[str, int]) -> None:
    """What orders moved, on the page of the memberships; they are the other code location's."""
    told = {name: counts[name] for name in ("memberships_opened", "memberships_closed")}
    told["shops_held"] = counts["shops_held"]
    if any(told.values()):
        context.log_event(dg.AssetObservation(SEGMENT_MEMBERSHIPS, metadata=told))


def end_dead_runs(
    instance: dg.DagsterInstance, *, alive: str, older_than: timedelta = STARTING
) -> list[str]:
    """Runs that Dagster takes for alive although their lock was free; returns their ids.

    A run whose code server died stays STARTED for ever. One that is younger may still be starting.
    """
    ended = []
    for record in instance.get_run_records(
        dg.RunsFilter(job_name=ACTIVATION_JOB, statuses=OPEN_STATUSES)
    ):
        age = datetime.now(UTC) - record.create_timestamp
        if record.dagster_run.run_id != alive and age > older_than:
            instance.report_run_failed(record.dagster_run, "Its process is gone.")
            ended.append(record.dagster_run.run_id)
    return ended


@contextmanager
def _line_of(runtime: Runtime) -> Iterator[Line]:
    """SIGINT and SIGTERM end the run between two pieces of work instead of inside one.

    Dagster's own handling raises in the middle of whatever runs, even an open transaction.
    """
    line = Line(runtime.settings.listen_url)

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        line.stop.set()
        line.heard.set()

    before = {number: signal.signal(number, ask_to_stop) for number in _SIGNALS}
    try:
        yield line
    finally:
        line.close()
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
