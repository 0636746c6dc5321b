"""dbt's manifest, from which Dagster's definitions load without running dbt."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from core.errors import PermanentError
from core.paths import DBT_PROJECT

MANIFEST: Final = DBT_PROJECT / "target" / "manifest.json"
_SOURCES: Final = {".sql", ".yml", ".yaml", ".csv", ".md"}
_NOT_SOURCES: Final = {"target", "logs", "dbt_packages"}


def ensure_manifest() -> bool:
    """Parse the dbt project if any of its files is newer than the manifest; whether it did.

    Needs no database. Raises PermanentError with what dbt said.
    """
    if not is_stale():
        return False
    MANIFEST.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=MANIFEST.parent, prefix="parse-") as scratch:
        _parse(Path(scratch))
        (Path(scratch) / MANIFEST.name).replace(MANIFEST)
    return True


def is_stale() -> bool:
    if not MANIFEST.exists():
        return True
    written = MANIFEST.stat().st_mtime
    return any(path.stat().st_mtime > written for path in _sources())


def _sources() -> list[Path]:
    """The project's files and folders: a deleted model changes only its folder."""
    kept = [path for path in DBT_PROJECT.iterdir() if path.name not in _NOT_SOURCES]
    inner = [found for path in kept if path.is_dir() for found in path.rglob("*")]
    return [path for path in kept + inner if path.is_dir() or path.suffix in _SOURCES]


def _parse(scratch: Path) -> None:
    result = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "dbt"), "--no-use-colors", "--quiet", "parse"),
            *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
            *("--target-path", str(scratch), "--log-path", str(scratch), "--no-partial-parse"),
        ],
        env=os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        cwd=DBT_PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = (result.stdout + result.stderr).strip()
        raise PermanentError(f"The dbt project cannot be parsed:\n{said}")
