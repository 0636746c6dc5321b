"""The daily full run, after the nightly sync."""

import dagster as dg

from orchestration.platform.defs.segmentation.jobs import score_customers

nightly_scoring_schedule = dg.ScheduleDefinition(
    name="nightly_scoring_schedule",
    job=score_customers,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="New RFM boundaries and segments for all shops at 03:00 UTC.",
)
