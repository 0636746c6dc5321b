r"""The lines of a bulk file in the one spelling Shopify gives them, read without a JSON parser.

Shopify writes compact JSON with the keys in the order we select them, so a line is its values
between constant text. One regular expression per type takes the values out of a whole block of
lines, and a value is already what COPY reads: a quoted string stays quoted, a number is a number,
`null` is an empty field. That is three times as fast as decoding each line and writing it anew.

Only what is certain matches. Every other line — another spelling, a character that JSON escapes,
a time on 29 February, an order with refunds — is left to the typed decoder
(core/ingestion/decoding.py), which reads the same row from it; a property test compares the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
_AMOUNT: Final = r"(-?\d{1,13}(?:\.\d{1,30})?)"
_ANY_TEXT: Final = rf'"{_CHARACTERS}"'
# Words that an array's input reads as they stand; NULL, unquoted, would be none.
_WORD: Final = r'"(?!(?i:null)")[\w-]+(?: [\w-]+)*"'

TEXT: Final = rf'("{_CHARACTERS}")'
TEXT_OR_NULL: Final = rf'(?:("{_CHARACTERS}")|null)'
ADDRESS: Final = rf'(?:("{_PLAIN}{{0,320}}")|null)'
MOMENT: Final = rf'"({_MOMENT})"'
MOMENT_OR_NULL: Final = rf'(?:"({_MOMENT})"|null)'
FLAG: Final = r"(true|false)"
FLAG_OR_NULL: Final = r"(?:(true|false)|null)"
UNREAD: Final = _ANY_TEXT
INTEGER: Final = r"(-?\d{1,9})"
COUNT: Final = r'"(\d{1,9})"'
WORDS: Final = rf"(\[(?:{_WORD}(?:,{_WORD})*)?\])"
NO_LIST: Final = r"\[\]"


def key_of(kind: str) -> str:
    r"""The number in "gid:\/\/shopify\/<kind>\/<number>"."""
    return rf'"gid:\\/\\/shopify\\/{kind}\\/{_NUMBER}"'


def money(*, currency: str = _ANY_TEXT) -> str:
    """An amount; its currency only as a group where one is given."""
    return object_of(amount=f'"{_AMOUNT}"', currencyCode=currency)


def bag(*, currency: str = _ANY_TEXT) -> str:
    return object_of(shopMoney=money(currency=currency))


def reference(kind: str) -> str:
    return f"(?:{object_of(id=key_of(kind))}|null)"


def object_of(**fields: str) -> str:
    """A JSON object with exactly these keys in this order."""
    return r"\{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + r"\}"


@dataclass(frozen=True)
class Spelling:
    """One type's lines.

    `kind`: the type in their ids. `pattern`: a whole line, one group for each of `columns`, in
    their order.
    """

    kind: str
    pattern: str
    columns: tuple[str, ...]

    @cached_property
    def start(self) -> bytes:
        """How each line begins; no other type's does."""
        return rb'{"id":"gid:\/\/shopify\/' + self.kind.encode() + rb"\/"

    @cached_property
    def _any_line(self) -> "re.Pattern[bytes]":
        """Matches every line; the last group is the line itself where it is spelled otherwise."""
        return re.compile(f"^(?:{self.pattern}|(.+))$".encode(), re.MULTILINE)

    def rows(
        self, lines: Sequence[bytes], numbers: Sequence[bytes]
    ) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """COPY text of those lines that are spelled so, each without its end and with its number
        as the last column; and the others with their numbers.
        """
        text = b"\n".join(lines)
        if not is_text(text):
            return [], list(zip(numbers, lines, strict=True))
        found = list(zip(self._any_line.findall(text), numbers, strict=True))
        # The last group of a row is empty, so its number follows the last tab.
        rows = [_TAB.join(groups) + number for groups, number in found if not groups[-1]]
        if len(rows) == len(found):
            return rows, []
        return rows, [(number, groups[-1]) for groups, number in found if groups[-1]]


_TAB: Final = b"\t"


def unescaped(block: bytes) -> bytes:
    r"""COPY text of rows that matched: JSON's escapes taken back, arrays in PostgreSQL's braces.

    Exact, because no text that matches has a tab, an escaped backslash or a bare quote inside, and
    an array is never the last column.
    """
    block = block.replace(rb"\/", b"/").replace(rb"\u0026", b"&")
    return block.replace(b"\t[]\t", b"\t{}\t").replace(b'\t["', b'\t{"').replace(b'"]\t', b'"}\t')


def is_text(content: bytes) -> bool:
    """Whether it is UTF-8."""
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
