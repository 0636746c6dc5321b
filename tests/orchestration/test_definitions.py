"""What Dagster shows is reviewed: assets, groups, owners, checks, jobs, sensors, schedules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import PROJECT_ROOT

REVIEWED = Path(__file__).parent / "definitions.json"

LOAD = """
import json, sys

def refuse(event, args):
    # Some library asks `file` what kind of Python this is.
    is_ours = event == "subprocess.Popen" and args[0] != "file"
    if is_ours or event == "socket.connect":
        sys.exit(f"loading definitions must not: {event} {args}")

sys.addaudithook(refuse)
import importlib

shown = {}
for location in ("activation", "platform"):
    defs = importlib.import_module(f"orchestration.{location}.definitions").defs
    repository = (defs() if callable(defs) else defs).get_repository_def()
    graph = repository.asset_graph
    shown[location] = {
        "assets": {
            key.to_user_string(): {
                "group": graph.get(key).group_name,
                "owners": sorted(graph.get(key).owners),
                "after": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            }
            for key in sorted(graph.materializable_asset_keys)
        },
        "checks": sorted(key.to_user_string() for key in graph.asset_check_keys),
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "schedules": sorted(schedule.name for schedule in repository.schedule_defs),
    }
json.dump(shown, sys.stdout, indent=2)
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, object]]:
    """Both code locations, loaded without any variable of ours and without leaving the process."""
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    result = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=PROJECT_ROOT,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


@pytest.mark.requirement("FOUND-06")
def test_definitions_are_the_reviewed_ones(shown: dict[str, dict[str, object]]) -> None:
    """To accept a change: write `shown` into definitions.json and review the diff."""
    assert shown == json.loads(REVIEWED.read_text())


def test_activation_location_starts_without_dbt() -> None:
    code = (
        "import sys; from orchestration.activation.definitions import defs;"
        "sys.exit(sorted(m for m in sys.modules if m.split('.')[0] in ('dbt', 'dagster_dbt'))[:3]"
        " or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
