"""The system user that runs PostgreSQL when we are root: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from core.errors import PermanentError

SYSTEM_USER: Final = "ecomcrm"


class Identity(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that start a child as another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A system user and its group."""

    name: str
    uid: int
    gid: int

    def identity(self) -> Identity:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def service_account() -> Account | None:
    """The user that must run PostgreSQL, made if it is missing; None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return Account(SYSTEM_USER, entry.pw_uid, entry.pw_gid)


def closed_parent(path: Path, account: Account) -> Path | None:
    """The first folder on the way to `path` that the account cannot pass; None when it can."""
    for folder in reversed(path.resolve().parents):
        if not _can_pass(folder.stat(), account):
            return folder
    return None


def require_reachable(path: Path, account: Account) -> None:
    """PermanentError, naming the folder in the way, when the account cannot get to `path`."""
    closed = closed_parent(path, account)
    if closed:
        raise PermanentError(
            f"PostgreSQL refuses to run as root, and the user {account.name}, who runs it "
            f"instead, may not enter {closed}. Set ECOMCRM_HOME to a folder outside it, such "
            "as /var/lib/ecomcrm."
        )


def _can_pass(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _create_system_user() -> None:
    command = _creation_command()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        pwd.getpwnam(SYSTEM_USER)  # also right when another process made it at the same moment
    except KeyError:
        raise PermanentError(
            f"PostgreSQL refuses to run as root and the system user {SYSTEM_USER} could not be "
            f"made ({' '.join(command)}: {result.stderr.strip()}). Make it, or start as an "
            "ordinary user."
        ) from None


def _creation_command() -> list[str]:
    if shutil.which("useradd"):
        return [
            *("useradd", "--system", "--user-group", "--no-create-home"),
            *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER),
        ]
    return ["adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", SYSTEM_USER]
