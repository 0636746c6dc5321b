"""Code location `activation`: the sensors that see due work, and the run that does it."""

from pathlib import Path

import dagster as dg

from orchestration.shared.runtime import Runtime


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources={"runtime": Runtime()}, executor=dg.in_process_executor),
    )
