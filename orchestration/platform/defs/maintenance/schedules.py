"""When upkeep happens; in the night between the sync (02:00) and the scores (03:00), or after."""

from functools import partial

import dagster as dg

from orchestration.platform.defs.maintenance.jobs import (
    check_shops,
    remove_expired,
    repair_statistics,
)

_schedule = partial(
    dg.ScheduleDefinition,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

hourly_check_schedule = _schedule(
    name="hourly_check_schedule",
    job=check_shops,
    cron_schedule="25 * * * *",  # Shopify gives a failing address up after four hours
    description="Webhook subscriptions and freshness of every shop, every hour.",
)
nightly_repair_schedule = _schedule(
    name="nightly_repair_schedule",
    job=repair_statistics,
    cron_schedule="45 2 * * *",
    description="Statistics of all shops at 02:45 UTC, before they are scored.",
)
nightly_retention_schedule = _schedule(
    name="nightly_retention_schedule",
    job=remove_expired,
    cron_schedule="30 3 * * *",
    description="Removal of what has expired at 03:30 UTC.",
)
