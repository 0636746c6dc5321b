r"""Lines of a bulk file whose values go into COPY's text as they stand.

A block of lines is decoded at once and loosely, every value as text; rows are made of it by
concatenating; then one expression for each table looks over all of its rows: numbers, times,
amounts, and texts that COPY reads as they are. That is twice as fast as checking value by value.

Only what is certain passes. A block that does not pass is tried in pieces and then line by line,
and what is left is for the typed decoder (core/ingestion/decoding.py), which reads the same rows
from any line that both read; a property test compares the two. (But for one: a text that may be
absent and is the control character U+0001, alone, is taken for absent.)
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.ingestion.copy_text import NULL
from core.ingestion.rows import Columns

# Bytes: of UTF-8 beyond ASCII all are fine. Control characters COPY reads otherwise, or as NULL.
CHARACTER: Final = r"[\x20-\xff]"
_TEXT: Final = rf"{CHARACTER}*+"
_DAY: Final = (
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|"
    r"(?:0[13578]|1[02])-31)"
)
# Without 29 February: that takes arithmetic.
_MOMENT: Final = rf"[1-8][0-9]{{3}}-{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
_OF_KIND: Final = {
    "bigint": r"[1-9][0-9]{0,17}+",
    "integer": r"-?[0-9]{1,9}+",
    "boolean": r"[tf]",
    "numeric(20,4)": r"-?[0-9]{1,13}+(?:\.[0-9]{1,30}+)?+",
    "timestamptz": _MOMENT,
    "text": _TEXT,
    "text[]": _TEXT,
}
_OF_COLUMN: Final = {
    "currency": r"[A-Z]{3}",
    "consent_state": r"(?:SUBSCRIBED|NOT_SUBSCRIBED|PENDING|UNSUBSCRIBED|INVALID|REDACTED)",
}
# Shorter than any id of Shopify's, longer than any number that `bigint` above lets through: what is
# left of an id without its beginning is the number of an id that had it.
SHORTEST_ID: Final = 19
PIECE: Final = 16  # lines

Rows = Callable[[Sequence[Any], int], list[str]]
Found = tuple[bytes, int]


@dataclass(frozen=True)
class PlainTable:
    """`rows`: from decoded lines and the number of the first, COPY's text of the rows it has of
    them, each with its line's number and its end. `check`: what all of that text must match.
    """

    rows: Rows
    check: re.Pattern[bytes]

    def text(self, lines: Sequence[Any], first_number: int) -> Found | None:
        """None unless all rows are certain."""
        rows = self.rows(lines, first_number)
        if not rows:
            return b"", 0
        try:
            text = "".join(rows).encode()
        except UnicodeEncodeError:
            return None
        if not self.check.fullmatch(text):
            return None
        return (text.replace(b"\\", b"\\\\") if b"\\" in text else text), len(rows)


def plain_table(
    rows: Rows, columns: Columns, *, optional: Collection[str] = (), **patterns: str
) -> PlainTable:
    """`optional`: columns that `rows` may give as NULL. `patterns`: of columns that are more, or
    less, than their type says.
    """
    cells = []
    for name, kind in columns:
        pattern = patterns.get(name) or _OF_COLUMN.get(name) or _OF_KIND[kind]
        cells.append(f"(?:{NULL}|{pattern})" if name in optional else pattern)
    row = r"\t".join([*cells, r"[0-9]++\n"])
    return PlainTable(rows, re.compile(f"(?:{row})*+".encode("latin-1")))


@dataclass(frozen=True)
class Plain:
    """How the lines of one file are decoded, and the tables that get rows of them. Each line is
    one row in one of the first `roots` tables; its children are in the tables after those.
    """

    decode: Callable[[bytes], Sequence[Any]]
    tables: Sequence[PlainTable]
    roots: int = 1

    def rows(
        self, text: bytes, first_number: int
    ) -> tuple[list[Found], list[tuple[int, bytes]], int]:
        """COPY's text of each table and how many rows are in it; the lines that are left, with
        their numbers; and how many lines there are.
        """
        count = text.count(b"\n") + (not text.endswith(b"\n"))
        if found := self._at_once(text, first_number, count):
            return found, [], count
        return *self._in_pieces(lines_of(text), first_number), count

    def _at_once(self, text: bytes, first_number: int, count: int) -> list[Found] | None:
        try:
            lines = self.decode(text)
        except ValueError:  # also of what is no UTF-8
            return None
        if (
            len(lines) != count
        ):  # the decoder passes over an empty line, and reads two objects in one
            return None
        found = []
        for table in self.tables:
            if (rows := table.text(lines, first_number)) is None:
                return None
            found.append(rows)
        is_whole = sum(number for _, number in found[: self.roots]) == count
        return found if is_whole else None

    def _in_pieces(
        self, lines: Sequence[bytes], first_number: int
    ) -> tuple[list[Found], list[tuple[int, bytes]]]:
        found: list[list[Found]] = []
        others: list[tuple[int, bytes]] = []
        for start in range(0, len(lines), PIECE):
            piece, number = lines[start : start + PIECE], first_number + start
            if at_once := self._at_once(b"\n".join(piece), number, len(piece)):
                found.append(at_once)
                continue
            for place, line in enumerate(piece, number):
                if alone := self._at_once(line, place, 1):
                    found.append(alone)
                else:
                    others.append((place, line))
        together = [
            (b"".join(text for text, _ in of_table), sum(count for _, count in of_table))
            for of_table in zip(*found, strict=True)
        ]
        return together, others


def lines_of(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n")
