"""Progress on a terminal: one line per step, with the seconds since the start."""

import sys
import time
from typing import TextIO


class Progress:
    """Writes lines such as `[  3.2 s] PostgreSQL ready`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._last = ""

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        self._last = text
        self._stream.write(f"[{self.elapsed():6.1f} s] {text}\n")
        self._stream.flush()

    def say_if_new(self, text: str) -> None:
        """Say it unless it is what was said last; for states that are polled."""
        if text != self._last:
            self.say(text)

    def plain(self, text: str = "") -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()
