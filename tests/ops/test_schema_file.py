import base64
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from core.errors import PermanentError, TransientError
from ops import schema_file
from ops.schema_file import (
    FILE_NAME,
    VERSIONS,
    ensure_schema_file,
    ensure_schema_files,
    file_name,
)


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


def test_only_missing_versions_are_added_to_a_folder_of_before(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for version in VERSIONS:
            member = tarfile.TarInfo(f"package/dist/data/{file_name(version)}")
            member.size = len(version)
            archive.addfile(member, io.BytesIO(version.encode()))
    digest = hashlib.sha512((tmp_path / "package.tgz").read_bytes()).digest()
    monkeypatch.setattr(schema_file, "INTEGRITY", base64.b64encode(digest).decode())
    fake_npm(path, f"cp {tmp_path}/package.tgz . && echo once >> {tmp_path}/fetched")
    folder = tmp_path / "shopify"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"of before")
    for _ in range(2):
        files = ensure_schema_files(folder)
        assert {version: file.read_text() for version, file in files.items()} == {
            version: "of before" if file_name(version) == FILE_NAME else version
            for version in VERSIONS
        }
    assert (tmp_path / "fetched").read_text() == "once\n"


def test_the_real_files_are_schemas(shopify_schemas: dict[str, Path]) -> None:
    assert tuple(shopify_schemas) == VERSIONS
    assert all(file.stat().st_size > 500_000 for file in shopify_schemas.values())
