"""One load in a process of its own, so that its peak of memory is its own.

    python -m benchmarks.ingest_loader stage|load <settings as JSON>

Prints one JSON line: seconds (from the first byte to the commit, without the imports), rows, and
the peaks of memory of this process and of its helpers.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.database import make_engine, make_session_factory, session_scope
from core.ingestion.bulk_file import BulkFile
from core.ingestion.staging import Counts, Staged, stage
from core.models.enums import BulkPurpose, ObjectType

CHUNK = 64 * 2**10  # as large as what a download hands out at most


class LocalFile:
    """Answers a download with a file's bytes, `times` over."""

    def __init__(self, path: str, times: int) -> None:
        self._path = path
        self._times = times

    @contextmanager
    def download(self, _url: str, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        assert offset == 0
        yield self._chunks()

    def _chunks(self) -> Iterator[bytes]:
        for _ in range(self._times):
            with Path(self._path).open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk


def main() -> int:
    what, given = sys.argv[1], json.loads(sys.argv[2])
    engine = make_engine(given["url"].replace("postgresql:", "postgresql+psycopg:"))
    factory = make_session_factory(engine)
    source: Any = LocalFile(given["path"], given.get("times", 1))
    file = BulkFile(source, "https://local/", renew=lambda: "")
    counts, rejected = Counts(), []
    cpu = _cpu_seconds()
    began = time.perf_counter()
    staged: Staged = stage(
        factory,
        file,
        shop_id=1,
        object_type=ObjectType.ORDER,
        purpose=BulkPurpose.LOAD,
        name="bench",
        counts=counts,
        reject=lambda *line: rejected.append(line),
        progress=lambda: None,
        screen=None,
        processes=given["processes"],
    )
    seconds_staged = time.perf_counter() - began
    if what == "load":
        with session_scope(factory) as session:
            staged.apply(session, sync_run_id=1, at=datetime.now(tz=UTC))
    seconds = time.perf_counter() - began
    if what == "stage" and not given.get("keep"):
        with session_scope(factory) as session:
            staged.drop(session)
    engine.dispose()
    assert not rejected
    print(
        json.dumps(
            {
                "seconds": seconds,
                "seconds_staged": seconds_staged,
                "cpu_seconds": _cpu_seconds() - cpu,
                "lines": file.lines_read,
                "memory_mib": _peak_mib(),
                "helper_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
                "tables": staged.tables,
            }
        )
    )
    return 0


def _cpu_seconds() -> float:
    """Of this process and of its helpers, once they have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_mib() -> float:
    """VmHWM: what this process has held at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
