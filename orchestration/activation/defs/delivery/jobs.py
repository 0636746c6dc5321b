"""The one job that sensors launch."""

import dagster as dg

from orchestration.activation.defs.delivery.assets import activation
from orchestration.shared.names import ACTIVATION_JOB

run_activation = dg.define_asset_job(
    ACTIVATION_JOB,
    selection=dg.AssetSelection.assets(activation),
    description="Everything due: privacy, refreshes, inbox, memberships, mails, write-backs.",
)
