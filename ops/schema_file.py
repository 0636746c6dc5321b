"""Shopify's own Admin schema, which the sandbox executes and the tests validate against.

It is not ours to commit: set-up takes one npm package's tarball, checks it against the integrity
written here, and keeps the one file.
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
FILE_NAME: Final = "admin_2026-07.json.gz"


def ensure_schema_file(folder: Path) -> Path:
    """The schema file in `folder`, fetched the first time; needs no network afterwards.

    Raises TransientError when npm cannot fetch the package, PermanentError when what it fetched
    is not what we know.
    """
    target = folder / FILE_NAME
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        tarball = _fetch(Path(scratch))
        unpacked = Path(scratch) / FILE_NAME
        unpacked.write_bytes(_member(tarball))
        unpacked.replace(target)
    return target


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


def _member(tarball: Path) -> bytes:
    name = f"package/dist/data/{FILE_NAME}"
    with tarfile.open(tarball) as archive:
        content = archive.extractfile(name)
        if content is None:
            raise PermanentError(f"{PACKAGE} has no {name}.")
        return content.read()
