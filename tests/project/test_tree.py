"""House rules of the tree that no other tool checks."""

import re
import subprocess
from pathlib import Path

import pytest

from core.paths import PROJECT_ROOT

# What the issue that is being proven owes (see CONTRIBUTING.md for the codes).
OWED = {
    *("FOUND-01", "FOUND-02", "FOUND-03", "FOUND-05", "FOUND-06"),
    *("SHOP-01", "SHOP-02", "SHOP-03", "SHOP-04", "SHOP-05", "SHOP-06", "SHOP-07", "SHOP-08"),
    *("SHOP-09", "CRM-04"),
    *("RFM-01", "RFM-02", "RFM-03", "RFM-04", "RFM-06"),
    *("EMAIL-01", "EMAIL-02", "EMAIL-05", "FLOW-01", "PIPE-01"),
}


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    return [PROJECT_ROOT / name for name in names.stdout.splitlines()]


def test_every_owed_requirement_is_named_by_a_test() -> None:
    text = "\n".join(path.read_text() for path in tracked("tests/*.py") if path != Path(__file__))
    marks = re.findall(r"mark\.requirement\(([^)]*)\)", text)
    named = {code for mark in marks for code in re.findall(r'"([A-Z]+-\d+)"', mark)}
    assert named >= OWED


def test_no_file_names_a_package_index() -> None:
    names = r"files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|registry\.yarnpkg"
    files = tracked("*.txt", "*.in", "*.json", "*.toml", "*.lock", "Makefile", "*.sh", ".npmrc")
    assert [path for path in files if re.search(names, path.read_text())] == []


@pytest.mark.parametrize("pattern", ["*.py", "*.sql", "*.html"])
def test_no_unfinished_marker_stands_in_the_code(pattern: str) -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError")
    files = [path for path in tracked(pattern) if path != Path(__file__)]
    assert [path for path in files if unfinished.search(path.read_text())] == []


def test_source_files_stay_under_420_lines() -> None:
    files = [path for path in tracked("*.py", "*.sql") if "migrations" not in path.parts]
    assert [path for path in files if len(path.read_text().splitlines()) > 420] == []
