"""See that something is due and launch the one activation job. Never one run per message."""

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from activation.automation.due import moments_due, segments_due
from activation.liveness import is_run_alive
from activation.work import orders_due, steps_due
from core.database import session_scope
from orchestration.activation.defs.delivery.assets import OPEN_STATUSES, STARTING
from orchestration.activation.defs.delivery.jobs import run_activation
from orchestration.shared.names import ACTIVATION_JOB
from orchestration.shared.runtime import Runtime

# The daemon's loop turns every 5 s whatever is asked for; asking for 5 makes it skip a turn that
# comes a moment early, and some ticks are 10 s apart.
TICK_SECONDS = 1


@dg.sensor(
    job=run_activation,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Orders, webhooks, refreshes, privacy requests or write-backs are waiting.",
)
def new_order_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.RunRequest | dg.SkipReason:
    return _launch_if(context, runtime, orders_due)


@dg.sensor(
    job=run_activation,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A step of an automation or a queued or unfinished message is due.",
)
def due_step_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.RunRequest | dg.SkipReason:
    now = runtime.clock.now()
    return _launch_if(context, runtime, lambda session: steps_due(session, now=now))


@dg.sensor(
    job=run_activation,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A full run has moved customers whom a flow waits for in their segment.",
)
def segment_change_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.RunRequest | dg.SkipReason:
    now = runtime.clock.now()
    return _launch_if(context, runtime, lambda session: segments_due(session, now=now))


@dg.sensor(
    job=run_activation,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A cart left alone, a silence, or a flow just switched on is to be looked at.",
)
def abandoned_checkout_sensor(
    context: dg.SensorEvaluationContext, runtime: Runtime
) -> dg.RunRequest | dg.SkipReason:
    now = runtime.clock.now()
    return _launch_if(context, runtime, lambda session: moments_due(session, now=now))


def _launch_if(
    context: dg.SensorEvaluationContext, runtime: Runtime, is_due: Callable[[Session], bool]
) -> dg.RunRequest | dg.SkipReason:
    try:
        with session_scope(runtime.factory) as session:
            if not is_due(session):
                return dg.SkipReason("Nothing is due.")
            if is_run_alive(session):
                return dg.SkipReason("An activation run is at work.")
    except OperationalError:
        return dg.SkipReason("The database cannot be reached; looking again at the next tick.")
    if _is_starting(context.instance):
        return dg.SkipReason("An activation run is starting.")
    return dg.RunRequest()


def _is_starting(instance: dg.DagsterInstance) -> bool:
    records = instance.get_run_records(
        dg.RunsFilter(job_name=ACTIVATION_JOB, statuses=OPEN_STATUSES), limit=1
    )
    if not records:
        return False
    return datetime.now(UTC) - records[0].create_timestamp < STARTING
