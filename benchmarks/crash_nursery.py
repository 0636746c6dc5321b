"""Workers by fork from one process that has imported everything: each lives a second at most.

As a program it reads jobs, one JSON line each, and tells who began and who ended how. `Nursery` is
the other end. Nothing here has threads or connections when it forks.
"""

import json
import os
import queue
import select
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Final

from benchmarks.crash_worker import Job, warm_up, work
from core.paths import PROJECT_ROOT

LOOK_EVERY: Final = 0.01  # seconds


class Nursery:
    """Starts workers and hears of their ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crash_nursery"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._born: queue.Queue[int] = queue.Queue()
        self._ended: queue.Queue[tuple[int, int]] = queue.Queue()
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def start(self, job: Job) -> int:
        """The new worker's pid."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return self._born.get(timeout=30)

    def ended(self) -> list[tuple[int, int]]:
        """Pids and exit codes since it was last asked; a signal's number is negative."""
        found = []
        while not self._ended.empty():
            found.append(self._ended.get())
        return found

    def close(self) -> None:
        """Only once every worker has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._ear.join(timeout=10)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            what, *numbers = line.split()
            if what == "born":
                self._born.put(int(numbers[0]))
            else:
                self._ended.put((int(numbers[0]), int(numbers[1])))


def main() -> None:
    warm_up()
    children: set[int] = set()
    is_open = True
    pending = b""
    while is_open or children:
        ready = is_open and select.select([0], [], [], LOOK_EVERY)[0]
        if ready:
            got = os.read(0, 65536)
            is_open = bool(got)
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                children.add(_fork(Job(**json.loads(line))))
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            children.discard(pid)
            _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")
        if not is_open and children:
            select.select([], [], [], LOOK_EVERY)


def _fork(job: Job) -> int:
    pid = os.fork()
    if pid:
        _say(f"born {pid}")
        return pid
    try:
        os.dup2(2, 1)  # nothing a worker prints may be taken for news
        work(job)
    except BaseException as error:  # noqa: BLE001 - its end is told by its status
        sys.stderr.write(f"a worker failed: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _say(news: str) -> None:
    os.write(1, f"{news}\n".encode())


if __name__ == "__main__":
    main()
