import re
import subprocess
from pathlib import Path

from core.paths import PROJECT_ROOT

MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()


def test_make_help_lists_every_command() -> None:
    shown = subprocess.run(
        ["make", "help"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^  make ([a-z-]+) +\S", shown, re.MULTILINE))
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert commands == set(phony[1].replace("\\", " ").split())


def test_an_old_python_is_refused_in_words(tmp_path: str) -> None:
    old = f"{tmp_path}/python3"
    with open(old, "w") as file:  # noqa: PTH123 - a name for PATH
        file.write('#!/bin/sh\ncase "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac\n')
    subprocess.run(["chmod", "+x", old], check=True)
    result = subprocess.run(
        ["/bin/sh", "scripts/find-python"],
        cwd=PROJECT_ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"needs Python 3.11 or newer. Found: {old} (3.9.2)." in result.stderr


def test_ci_runs_the_test_command() -> None:
    assert "exec make test" in (PROJECT_ROOT / ".ci" / "run").read_text()


def test_a_machine_without_pgbouncer_and_apt_is_told_what_to_do(tmp_path: Path) -> None:
    result = subprocess.run(
        ["/bin/sh", PROJECT_ROOT / "scripts" / "install-pooler"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    is_there = Path("/usr/sbin/pgbouncer").exists()
    assert result.returncode == (0 if is_there else 1)
    assert ("install it with your package manager" in result.stderr) != is_there


def test_the_test_command_sees_to_browser_and_pooler() -> None:
    recipe = MAKEFILE.split("\ntest: ", 1)[1].split("\n\n", 1)[0]
    assert recipe.index("install-browser") < recipe.index("install-pooler")
    assert recipe.index("install-pooler") < recipe.index("scripts/check")
