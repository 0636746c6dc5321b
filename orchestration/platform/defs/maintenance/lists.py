"""The lists of addresses that are not written to, ours and the provider's, told each other nightly.

Between the nights events tell of each change (activation/events/lists.py).
"""

import time

import dagster as dg

from activation.suppressions.mirror import mirror_account
from orchestration.shared.names import MAINTENANCE, OWNERS, SUPPRESSION_MIRROR
from orchestration.shared.runtime import Runtime


@dg.asset(
    key=SUPPRESSION_MIRROR,
    group_name=MAINTENANCE,
    kinds={"postgres", "resend"},
    owners=OWNERS,
    description="Lifted addresses are taken off the provider's list, what people put on a shop's "
    "list is put there, and what is there about customers is taken over. Stopped, it goes on where "
    "it was.",
)
def suppression_mirror(
    runtime: Runtime,
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    done = mirror_account(runtime.factory, runtime.settings, clock=runtime.clock, sleep=time.sleep)
    return dg.MaterializeResult(metadata={**vars(done)} if done else {"has_list": False})


mirror_suppressions = dg.define_asset_job(
    "mirror_suppressions",
    selection=dg.AssetSelection.assets(suppression_mirror),
    description="Bring our lists of addresses and the provider's up to date with each other.",
)

nightly_mirror_schedule = dg.ScheduleDefinition(
    name="nightly_mirror_schedule",
    job=mirror_suppressions,
    cron_schedule="10 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The provider's list of addresses at 04:10 UTC.",
)
