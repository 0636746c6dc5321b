"""The arrows of docs/architecture.md hold, and each contract is seen to fail when broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import PROJECT_ROOT

PACKAGES = ["core", "activation", "orchestration", "webapp", "sandbox", "ops"]

# (a module of ours, what it must not import, words of the contract that must then be broken)
VIOLATIONS = [
    ("core", "import activation", "rest on activation"),
    ("activation", "import webapp", "rest on activation"),
    ("webapp", "import orchestration", "rest on activation"),
    ("orchestration", "import ops", "rest on activation"),
    ("sandbox", "import core", "the sandbox imports none"),
    ("ops", "import sandbox", "none of the others imports the sandbox"),
    ("activation", "import dagster", "dagster only in orchestration"),
    ("activation", "import fastapi", "fastapi only in webapp"),
    ("webapp", "import resend", "resend only in the provider module"),
    ("activation", "import anthropic", "anthropic nowhere yet"),
    ("orchestration.activation", "import dagster_dbt", "activation runs start fast"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our packages that a test may break."""
    root = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(
            PROJECT_ROOT / package,
            root / package,
            ignore=shutil.ignore_patterns("__pycache__", "static", "templates"),
        )
    shutil.copy(PROJECT_ROOT / "pyproject.toml", root)
    return root


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [command, "--no-cache"],
        cwd=root,
        # The copy must be found before the installed packages.
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_contract_is_kept(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("module", "violation", "contract"), VIOLATIONS)
def test_a_contract_fails_when_it_is_broken(
    tree: Path, module: str, violation: str, contract: str
) -> None:
    intruder = tree.joinpath(*module.split("."), "intruder.py")
    intruder.write_text(f"{violation}\n")
    try:
        result = lint(tree)
    finally:
        intruder.unlink()
    broken = [line for line in result.stdout.splitlines() if "BROKEN" in line]
    assert any(contract in line for line in broken), result.stdout
