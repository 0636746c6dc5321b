"""`.env.example` names every variable that any process of ours reads, and no other."""

import re

import pytest

from core.paths import PROJECT_ROOT
from core.settings import environment_variables
from ops.ports import PORT_VARIABLES
from ops.world import DAGSTER_DATABASE_VARIABLE

LINE = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


@pytest.mark.requirement("FOUND-05")
def test_the_example_names_every_variable_and_no_stale_one() -> None:
    documented = LINE.findall((PROJECT_ROOT / ".env.example").read_text())
    read = {*environment_variables(), *PORT_VARIABLES, DAGSTER_DATABASE_VARIABLE}
    assert sorted(documented) == sorted(read)
