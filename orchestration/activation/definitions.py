"""Code location `activation`: the sensors that see due work, and the run that does it.

Named one by one, not found by `load_from_defs_folder`: that imports every Dagster integration that
is installed, dagster_dbt among them, and each activation run would start 2.4 s later
(docs/decisions/0010).
"""

import dagster as dg

from orchestration.activation.defs.delivery.assets import activation
from orchestration.activation.defs.delivery.jobs import run_activation
from orchestration.activation.defs.delivery.sensors import (
    abandoned_checkout_sensor,
    due_step_sensor,
    new_order_sensor,
    segment_change_sensor,
)
from orchestration.shared.runtime import Runtime

defs = dg.Definitions(
    assets=[activation],
    jobs=[run_activation],
    sensors=[
        new_order_sensor,
        due_step_sensor,
        segment_change_sensor,
        abandoned_checkout_sensor,
    ],
    resources={"runtime": Runtime()},
    executor=dg.in_process_executor,
)
