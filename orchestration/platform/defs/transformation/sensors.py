"""Reports follow each full run, however it ended: a held one is what they have to tell of."""

import dagster as dg

from orchestration.platform.defs.segmentation.jobs import score_customers
from orchestration.platform.defs.transformation.jobs import build_reports


def _ask(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=context.dagster_run.run_id)


reports_sensor = dg.run_status_sensor(
    name="reports_sensor",
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[score_customers],
    request_job=build_reports,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the reports after each full run.",
)(_ask)
