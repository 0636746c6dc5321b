"""Shopify's own Admin schema, which the sandbox executes and the tests validate against.

It is not ours to commit: set-up takes one npm package's tarball, checks it against the integrity
written here, and keeps the files of the versions we support. The sandbox serves one of them; the
tests validate our documents against all.
"""

import base64
import hashlib
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from core.errors import PermanentError, TransientError
from ops.node import run_npm

PACKAGE: Final = "@shopify/dev-mcp@1.16.0"
INTEGRITY: Final = (
    "tqgRnK7sQhjew+htxtleTH23nXB5fZcsrhWgEkomsorGXvLOB2mh2upwZm8uzuTDNTZnqtLMe64yIwh6s2awtw=="
)
VERSIONS: Final = ("2026-01", "2026-04", "2026-07", "2026-10")
FILE_NAME: Final = "admin_2026-07.json.gz"  # of the version that the sandbox serves


def ensure_schema_file(folder: Path) -> Path:
    """The file of the sandbox's version in `folder`, fetched the first time.

    Needs no network afterwards, nor with a folder of before there were several versions. Raises
    TransientError when npm cannot fetch the package, PermanentError when what it fetched is not
    what we know.
    """
    if not (folder / FILE_NAME).exists():
        _fetch_missing(folder)
    return folder / FILE_NAME


def ensure_schema_files(folder: Path) -> dict[str, Path]:
    """The file of each supported version, by version; fetched as `ensure_schema_file` does."""
    files = {version: folder / file_name(version) for version in VERSIONS}
    if not all(file.exists() for file in files.values()):
        _fetch_missing(folder)
    return files


def file_name(version: str) -> str:
    return f"admin_{version}.json.gz"


def _fetch_missing(folder: Path) -> None:
    """Take from one tarball every file that is not there; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        tarball = _fetch(Path(scratch))
        for name in map(file_name, VERSIONS):
            if not (folder / name).exists():
                unpacked = Path(scratch) / name
                unpacked.write_bytes(_member(tarball, name))
                unpacked.replace(folder / name)


def _fetch(scratch: Path) -> Path:
    try:
        run_npm("pack", PACKAGE, folder=scratch)
    except PermanentError as error:
        raise TransientError(
            f"Shopify's schema could not be fetched from npm ({PACKAGE}). It is needed once; try "
            f"again with a network.\n{error}"
        ) from None
    [tarball] = scratch.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise PermanentError(f"{PACKAGE} is not the package we know: sha512-{digest}. Not used.")
    return tarball


def _member(tarball: Path, file: str) -> bytes:
    name = f"package/dist/data/{file}"
    with tarfile.open(tarball) as archive:
        content = archive.extractfile(name)
        if content is None:
            raise PermanentError(f"{PACKAGE} has no {name}.")
        return content.read()
