"""The daily full run, after the nightly sync, and looks at it by day."""

import dagster as dg

from orchestration.platform.defs.segmentation.jobs import check_segments, score_customers

nightly_scoring_schedule = dg.ScheduleDefinition(
    name="nightly_scoring_schedule",
    job=score_customers,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="New RFM boundaries and segments for all shops at 03:00 UTC.",
)

# Between full runs too: a hold by orders, or a night without a run, is not to wait for the next.
segment_check_schedule = dg.ScheduleDefinition(
    name="segment_check_schedule",
    job=check_segments,
    cron_schedule="40 */4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="What segments rest on, every four hours.",
)
