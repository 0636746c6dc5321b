"""A file of roots and children in which some children stand far from their root."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

from sandbox.jsonl import encode_line

# How far a child may stray from its root, in roots before it and in lines after it.
_ROOTS_AHEAD = 40
_LINES_BEHIND = 400
_SHARE_EARLY = 0.08
_SHARE_LATE = 0.10


class _Waiting(NamedTuple):
    root: bytes
    next_to_it: list[bytes]
    behind: list[bytes]


class Straying:
    """Writes into `file`; where the children land depends on `seed` alone."""

    def __init__(self, file: BinaryIO, seed: str) -> None:
        self._file = file
        self._random = random.Random(seed)
        self._ahead: deque[_Waiting] = deque()
        self._behind: list[bytes] = []

    def take(self, root: dict[str, Any], children: Sequence[dict[str, Any]]) -> None:
        waiting = _Waiting(encode_line(root), [], [])
        for child in children:
            self._place(encode_line({**child, "__parentId": root["id"]}), waiting)
        self._ahead.append(waiting)
        if len(self._ahead) > _ROOTS_AHEAD:
            self._write_next_root()

    def flush(self) -> None:
        while self._ahead:
            self._write_next_root()
        while self._behind:
            self._write_one_behind()

    def _place(self, line: bytes, waiting: _Waiting) -> None:
        chance = self._random.random()
        if chance < _SHARE_EARLY:
            self._file.write(line)
        elif chance < _SHARE_EARLY + _SHARE_LATE:
            waiting.behind.append(line)
        else:
            waiting.next_to_it.append(line)

    def _write_next_root(self) -> None:
        waiting = self._ahead.popleft()
        self._file.write(waiting.root)
        self._file.writelines(waiting.next_to_it)
        self._behind.extend(waiting.behind)
        while len(self._behind) > _LINES_BEHIND:
            self._write_one_behind()

    def _write_one_behind(self) -> None:
        place = self._random.randrange(len(self._behind))
        self._behind[place], self._behind[-1] = self._behind[-1], self._behind[place]
        self._file.write(self._behind.pop())
