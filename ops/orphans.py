"""Processes of ours that outlived their supervisor.

Everything we start carries a marker in its environment that names its home, so that a process
whose parents are gone, a Dagster run among them, is still known as ours, and nobody else's is
ever signalled. Needs /proc; elsewhere there is nothing to find.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARKER: Final = "ECOMCRM_SUPERVISED_HOME"
_PROC: Final = Path("/proc")
_PATIENCE_SECONDS: Final = 8.0


@dataclass(frozen=True)
class Orphan:
    """A living process that belongs to the home."""

    pid: int
    command: str

    @property
    def is_postgres(self) -> bool:
        return self.command.partition(" ")[0].endswith("/postgres")


def find_orphans(home: Path) -> list[Orphan]:
    """Living processes that were started for this home."""
    wanted = f"{MARKER}={home}".encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if wanted in environment and command and int(folder.name) != os.getpid():
            text = command.replace(b"\0", b" ").decode(errors="replace").strip()
            found.append(Orphan(int(folder.name), text))
    return found


def stop_orphans(home: Path) -> list[Orphan]:
    """Stop what is left of a former stack, the database last; returns what was found."""
    found = find_orphans(home)
    _stop([orphan for orphan in found if not orphan.is_postgres], home, gentle=signal.SIGTERM)
    _stop([orphan for orphan in found if orphan.is_postgres], home, gentle=signal.SIGINT)
    return found


def _stop(orphans: list[Orphan], home: Path, *, gentle: signal.Signals) -> None:
    wanted = {orphan.pid for orphan in orphans}
    _signal(wanted, gentle)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while alive := wanted & {orphan.pid for orphan in find_orphans(home)}:
        if time.monotonic() > deadline:
            _signal(alive, signal.SIGKILL)
            return
        time.sleep(0.1)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
