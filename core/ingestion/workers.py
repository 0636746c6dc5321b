"""The helper processes of a load, seen from the process that loads.

The loading process decodes too: a block goes to a helper that has room for it, else the caller
keeps it. So nobody waits for helpers to start, and a file that arrives faster than all of them
decode waits in the network and not in memory. A helper that dies ends the load.
"""

import fcntl
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

from core.errors import TransientError
from core.ingestion import frames
from core.ingestion.frames import Frame, FrameKind, Job, Told

# Rejected lines of 64 KiB each wait here while the database is slow; beyond, helpers wait.
TOLD_AT_ONCE: Final = 64
BLOCKS_AT_ONCE: Final = 2
PIPE_BYTES: Final = 512 * 2**10  # a few blocks more: handing them on must not hold up anybody
PAUSE_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 10.0


class HelperDiedError(TransientError):
    """A helper process ended before its work was committed."""


class _Helper:
    """One process, with a thread that hands it blocks and one that hands on what it tells.

    Threads, because a pipe holds little: whoever wrote to it and did not read meanwhile would wait
    for a helper that waits to be read.
    """

    def __init__(self, job: Job, told: "queue.Queue[tuple[_Helper, Frame | None]]") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "core.ingestion.copy_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None  # noqa: S101 - asked for above
        with suppress(OSError):  # where the system allows no more it is as it was
            fcntl.fcntl(self.process.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.is_done = False
        self.frames: queue.Queue[Frame] = queue.Queue(BLOCKS_AT_ONCE)
        self.frames.put(job.frame())
        self._told = told
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._hand, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def _hand(self) -> None:
        pipe = self.process.stdin
        assert pipe is not None  # noqa: S101 - asked for above
        # Of a broken pipe `_listen` tells, after what the helper said of the reason.
        with suppress(BrokenPipeError):
            while not self._stopped.is_set():
                with suppress(queue.Empty):
                    self.frames.get(timeout=PAUSE_SECONDS).write(pipe)

    def _listen(self) -> None:
        pipe: IO[bytes] | None = self.process.stdout
        assert pipe is not None  # noqa: S101 - asked for above
        is_open = True
        while is_open:
            frame = frames.read(pipe)
            is_open = frame is not None
            while not self._stopped.is_set():
                with suppress(queue.Full):
                    self._told.put((self, frame), timeout=PAUSE_SECONDS)
                    break

    def stop(self) -> None:
        """At once, unless it has ended; with its threads and pipes."""
        self._stopped.set()
        if not self.is_done:
            self.process.kill()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()


class Helpers:
    """Use `helpers`. What they tell is handed out by `told`, in the thread that asks."""

    def __init__(self, job: Job, count: int) -> None:
        self._queue: queue.Queue[tuple[_Helper, Frame | None]] = queue.Queue(TOLD_AT_ONCE)
        self._all: list[_Helper] = []
        self._next = 0
        try:
            for _ in range(count):
                self._all.append(_Helper(job, self._queue))
        except BaseException:
            self.stop()
            raise

    def offer(self, block: bytes, first_number: int) -> bool:
        """Hand out a block; False when no helper has room for it."""
        frame = Frame(FrameKind.BLOCK, first_number, block)
        for helper in self._all:
            with suppress(queue.Full):
                helper.frames.put_nowait(frame)
                return True
        return False

    def told(self) -> Iterator[tuple[int, Told]]:
        """What has been told since. Raises HelperDiedError."""
        with suppress(queue.Empty):
            while True:
                yield from self._taken(*self._queue.get_nowait())

    def finish(self) -> Iterator[tuple[int, Told]]:
        """Tell all that the file has ended; what they still tell, until all have committed."""
        for helper in self._all:
            yield from self._end(helper)
        while not all(helper.is_done for helper in self._all):
            yield from self._taken(*self._queue.get())

    def _end(self, helper: _Helper) -> Iterator[tuple[int, Told]]:
        is_told = False
        while not is_told:
            with suppress(queue.Full):
                helper.frames.put_nowait(Frame(FrameKind.END))
                is_told = True
            with suppress(queue.Empty):
                yield from self._taken(*self._queue.get(timeout=0 if is_told else 0.01))

    def _taken(self, helper: _Helper, frame: Frame | None) -> Iterator[tuple[int, Told]]:
        if frame is None:
            if not helper.is_done:
                raise HelperDiedError("A helper process of the load has died.")
        elif frame.kind is FrameKind.DONE:
            helper.is_done = True
        elif frame.kind is FrameKind.FAILED:
            name = frame.content.decode()
            raise HelperDiedError(f"The database refused a helper process of the load ({name}).")
        else:
            told = frames.unpack(frame)
            assert isinstance(told, Told)  # noqa: S101 - there is no other kind
            yield frame.number, told

    def stop(self) -> None:
        for helper in self._all:
            helper.stop()


@contextmanager
def helpers(job: Job, count: int) -> Iterator[Helpers]:
    """`count` processes at work; none is left behind."""
    made = Helpers(job, count)
    try:
        yield made
    finally:
        made.stop()
