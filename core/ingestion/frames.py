"""What the process that loads and its helpers say to each other through pipes.

A frame is its kind, a number, the length of its content and the content. Nothing here is sent over
a network or kept: both ends are one release of this code.
"""

import pickle
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:  # at run time they would bring SQLAlchemy into every helper process
    from core.ingestion.screen import Screen

KEPT_OF_LINE: Final = 64 * 2**10
_HEAD: Final = Struct("!BqI")


class FrameKind(IntEnum):
    JOB = 1
    BLOCK = 2
    END = 3
    REJECTED = 4
    COUNTED = 5
    DONE = 6
    FAILED = 7


@dataclass(frozen=True)
class Frame:
    """`number`: of a block's first line, of a rejected line."""

    kind: FrameKind
    number: int = 0
    content: bytes = b""

    def write(self, pipe: IO[bytes]) -> None:
        pipe.write(_HEAD.pack(self.kind, self.number, len(self.content)))
        pipe.write(self.content)
        pipe.flush()


def read(pipe: IO[bytes]) -> Frame | None:
    """The next frame; None when the other end is gone, also in the middle of one."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, number, length = _HEAD.unpack(head)
    content = pipe.read(length)
    return Frame(FrameKind(kind), number, content) if len(content) == length else None


@dataclass(frozen=True)
class Job:
    """What a helper must know, in plain values. `tables`: name → table in the database."""

    conninfo: str
    object_type: str
    purpose: str
    tables: dict[str, str]
    screen: "Screen | None"

    def frame(self) -> Frame:
        return Frame(FrameKind.JOB, content=pickle.dumps(self))


@dataclass(frozen=True)
class Told:
    """A rejected line, or the counts of a block."""

    line: bytes = b""
    reason: str = ""
    counts: dict[str, int] | None = None

    def frame(self, kind: FrameKind, number: int = 0) -> Frame:
        return Frame(kind, number, pickle.dumps(self))


def unpack(frame: Frame) -> object:
    return pickle.loads(frame.content)  # noqa: S301 - from our own child or parent process
