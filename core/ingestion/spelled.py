r"""The lines of a bulk file in the one spelling Shopify gives them, read without a JSON parser.

Shopify writes compact JSON with the keys in the order we select them, so a line is its values
between constant text. One regular expression per type takes the values out of a whole block of
lines, and a value is already what COPY reads: a quoted string stays quoted, a number is a number,
`null` is an empty field. That is three times as fast as decoding each line and writing it anew.

Only what is certain matches. Every other line — another spelling, a character that JSON escapes,
a time on 29 February — is left to the typed decoder
(core/ingestion/decoding.py), which reads the same row from it; a property test compares the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

# A text without what COPY or UTF-8 would read otherwise: of JSON's escapes only those that
# `unescaped` takes back, and `\"`, which CSV reads too.
_CHARACTERS: Final = r'[^"\\\x00-\x1f]*+(?:\\(?:[/"]|u0026)[^"\\\x00-\x1f]*+)*+'
_PLAIN: Final = r'[^"\\\x00-\x1f]'
_NUMBER: Final = r"([1-9]\d{0,17})"
_DAY: Final = (
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|"
    r"(?:0[13578]|1[02])-31)"
)
_MOMENT: Final = rf"[1-8]\d{{3}}-{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
_AMOUNT: Final = r"(-?\d{1,13}+(?:\.\d{1,30}+)?)"
# Words that an array's input reads as they stand; NULL, unquoted, would be none.
_WORD: Final = r'"(?!(?i:null)")[\w-]+(?: [\w-]+)*"'

TEXT: Final = rf'("{_CHARACTERS}")'
TEXT_OR_NULL: Final = rf'(?:("{_CHARACTERS}")|null)'
ADDRESS: Final = rf'(?:("{_PLAIN}{{0,320}}")|null)'
MOMENT: Final = rf'"({_MOMENT})"'
MOMENT_OR_NULL: Final = rf'(?:"({_MOMENT})"|null)'
FLAG: Final = r"(true|false)"
FLAG_OR_NULL: Final = r"(?:(true|false)|null)"
# Of an enum or a token: letters, digits and _ only, so CSV reads it without its quotes.
WORD_OR_NULL: Final = r'(?:"(\w++)"|null)'
CURRENCY: Final = '"([A-Z]{3})"'
UNREAD_CURRENCY: Final = '"[A-Z]{3}"'
INTEGER: Final = r"(-?\d{1,9})"
COUNT: Final = r'"(\d{1,9})"'
WORDS: Final = rf"(\[(?:{_WORD}(?:,{_WORD})*)?\])"
NO_LIST: Final = r"\[\]"


def key_of(kind: str) -> str:
    r"""The number in "gid:\/\/shopify\/<kind>\/<number>"."""
    return rf'"gid:\\/\\/shopify\\/{kind}\\/{_NUMBER}"'


def money(*, currency: str = UNREAD_CURRENCY) -> str:
    """An amount; its currency only as a group where one is given."""
    return object_of(amount=f'"{_AMOUNT}"', currencyCode=currency)


def bag(*, currency: str = UNREAD_CURRENCY) -> str:
    return object_of(shopMoney=money(currency=currency))


def reference(kind: str) -> str:
    return f"(?:{object_of(id=key_of(kind))}|null)"


def object_of(**fields: str) -> str:
    """A JSON object with exactly these keys in this order."""
    return r"\{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + r"\}"


@dataclass(frozen=True)
class Spelling:
    """One type's lines: a `pattern` for a whole line, one group for each of `columns`, in their
    order. The first is the object's number, which every line has. `children`: a list in it that
    `pattern` expects to be empty.
    """

    pattern: str
    columns: tuple[str, ...]
    children: "Children | None" = None


@dataclass(frozen=True)
class Children:
    """The objects listed under `key` within a line. Their rows end with the line's own object;
    `columns` has it, and `pattern` has not.
    """

    key: str
    pattern: str
    columns: tuple[str, ...]

    def list_of(self) -> re.Pattern[bytes]:
        """One group: what stands between the brackets."""
        return re.compile(
            rf'"{self.key}":\[({self.pattern}(?:,{self.pattern})*)\]'.encode(),
        )


class Lines:
    """The lines of one file, which are of these spellings, read block by block."""

    def __init__(self, spellings: Sequence[Spelling]) -> None:
        patterns = "|".join(spelling.pattern for spelling in spellings)
        self._any_line = re.compile(f"^(?:{patterns}|(.*))$".encode(), re.MULTILINE)
        self._nested = [
            (number, spelling.children.list_of(), re.compile(spelling.children.pattern.encode()))
            for number, spelling in enumerate(spellings)
            if spelling.children
        ]
        # One group more than there are columns: it is empty, so each row ends with a tab.
        ends = list(accumulate(len(spelling.columns) for spelling in spellings))
        self._slices = [
            slice(end - len(spelling.columns), end + 1)
            for spelling, end in zip(spellings, ends, strict=True)
        ]

    def rows(
        self, text: bytes, first_number: int
    ) -> tuple[list[list[bytes]], list[tuple[int, bytes]]]:
        """COPY text of the rows of each spelling and then of their children, each with its line's
        number as the last column and without its end; and the lines that are spelled otherwise,
        with their numbers.

        `text` is UTF-8 and does not end with a newline.
        """
        found = self._any_line.findall(text)
        numbers = list(map(b"%d".__mod__, range(first_number, first_number + len(found))))
        rows = [
            [
                _TAB.join(groups[part]) + number
                for groups, number in zip(found, numbers, strict=True)
                if groups[part.start]
            ]
            for part in self._slices
        ]
        left = len(found) - sum(map(len, rows))
        if not left:
            return rows + [[] for _ in self._nested], []
        others = [
            (number, groups[-1]) for number, groups in enumerate(found, first_number) if groups[-1]
        ]
        if len(others) < left:  # an empty line matches with no group at all
            others = [
                (number, groups[-1])
                for number, groups in enumerate(found, first_number)
                if not any(groups[part.start] for part in self._slices)
            ]
        for nested in self._nested:
            others = self._with_children(others, rows, *nested)
        return rows, others

    def _with_children(
        self,
        lines: list[tuple[int, bytes]],
        rows: list[list[bytes]],
        place: int,
        list_: re.Pattern[bytes],
        child: re.Pattern[bytes],
    ) -> list[tuple[int, bytes]]:
        """Take those lines that are spelled right but for a list that is not empty."""
        part, children, others = self._slices[place], list[bytes](), list[tuple[int, bytes]]()
        for number, line in lines:
            if (found := list_.search(line)) is None:
                others.append((number, line))
                continue
            [groups] = self._any_line.findall(line[: found.start(1)] + line[found.end(1) :])
            if not groups[part.start]:
                others.append((number, line))
                continue
            end = b"%d" % number
            rows[place].append(_TAB.join(groups[part]) + end)
            children += [
                _TAB.join((*of_child, groups[part.start], end))
                for of_child in child.findall(found[1])
            ]
        rows.append(children)
        return others


_TAB: Final = b"\t"


def unescaped(block: bytes, *, has_arrays: bool) -> bytes:
    r"""COPY text of rows that matched: JSON's escapes taken back, arrays in PostgreSQL's braces.

    Exact, because no text that matches has a tab, an escaped backslash or a bare quote inside, and
    an array is never the last column.
    """
    if b"\\" in block:  # splitting searches once where replacing would twice
        block = b"&".join(b"/".join(block.split(rb"\/")).split(rb"\u0026"))
    if has_arrays:
        block = block.replace(b"\t[]\t", b"\t{}\t")
        block = block.replace(b'\t["', b'\t{"').replace(b'"]\t', b'"}\t')
    return block


def is_text(content: bytes) -> bool:
    """Whether it is UTF-8."""
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
