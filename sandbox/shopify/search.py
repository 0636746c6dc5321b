"""Shopify's search text (`updated_at:>='2026-01-01T00:00:00Z'`) as a condition on our tables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sandbox.clock import epoch
from sandbox.http import NotInSandboxError
from sandbox.shapes import LARGEST_ID

DAY = 86400
_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<word>AND|OR)(?=[\s(])
    |(?P<key>\w+):(?P<operator>>=|<=|>|<|)(?P<value>'[^']*'|"[^"]*"|[^\s'"()]+)(?=[\s)]|$))""",
    re.VERBOSE,
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Condition:
    """`sql` with its bind values; "1" for no condition."""

    sql: str
    values: tuple[float, ...] = ()

    def also(self, other: "Condition") -> "Condition":
        return Condition(f"({self.sql}) and ({other.sql})", self.values + other.values)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What may be searched for: times and numbers by column, choices by value and condition.

    `whole_days`: bounds on times reach over the whole day they fall on, as Shopify documents for
    customers.
    """

    times: Mapping[str, str]
    numbers: Mapping[str, str]
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    whole_days: bool = False


def condition_of(text: str, keys: Keys) -> Condition:
    """The condition for a search: terms side by side or with AND, OR between them, parentheses.

    AND binds closer than OR. Raises NotInSandboxError for any other key or syntax, where Shopify
    would match everything and only warn.
    """
    return _Parser(text, keys).whole()


class _Parser:
    """Recursive descent over the tokens of one search text."""

    def __init__(self, text: str, keys: Keys) -> None:
        self._text, self._keys = text, keys
        self._tokens = self._split(text)
        self._place = 0

    def _split(self, text: str) -> list[re.Match[str]]:
        tokens, at = [], 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._refusal()
            tokens.append(found)
            at = found.end()
        return tokens

    def whole(self) -> Condition:
        if not self._tokens:
            return Condition("1")
        condition = self._either()
        if self._place < len(self._tokens):
            raise self._refusal()
        return condition

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._takes("word", "OR"):
            parts.append(self._both())
        return _joined(parts, " or ")

    def _both(self) -> Condition:
        parts = [self._term()]
        while self._takes("word", "AND") or self._next() in {"open", "key"}:
            parts.append(self._term())
        return _joined(parts, " and ")

    def _term(self) -> Condition:
        if self._takes("open"):
            inner = self._either()
            if not self._takes("close"):
                raise self._refusal()
            return inner
        if self._next() != "key":
            raise self._refusal()
        token = self._tokens[self._place]
        self._place += 1
        return _compare(token["key"], token["operator"], token["value"].strip("'\""), self._keys)

    def _next(self) -> str | None:
        if self._place >= len(self._tokens):
            return None
        token = self._tokens[self._place]
        return next(kind for kind in ("open", "close", "word", "key") if token[kind] is not None)

    def _takes(self, kind: str, text: str | None = None) -> bool:
        """Steps over the next token when it is of this kind (and reads so)."""
        if self._next() != kind or text not in (None, self._tokens[self._place][kind]):
            return False
        self._place += 1
        return True

    def _refusal(self) -> NotInSandboxError:
        return NotInSandboxError(f"search text {self._text!r}")


def _joined(parts: list[Condition], word: str) -> Condition:
    if len(parts) == 1:
        return parts[0]
    values = tuple(value for part in parts for value in part.values)
    return Condition(word.join(f"({part.sql})" for part in parts), values)


def _compare(key: str, operator: str, value: str, keys: Keys) -> Condition:
    if key in keys.times:
        return _time(keys.times[key], operator, value, whole_days=keys.whole_days)
    if key in keys.numbers:
        if not value.isascii() or not value.isdigit():
            raise NotInSandboxError(f"search value {value!r}")
        return Condition(f"{keys.numbers[key]} {operator or '='} ?", (min(int(value), LARGEST_ID),))
    if key in keys.choices and not operator:
        if value not in keys.choices[key]:
            raise NotInSandboxError(f"search value {value!r}")
        return Condition(keys.choices[key][value])
    raise NotInSandboxError(f"search key {key}")


def _time(column: str, operator: str, value: str, *, whole_days: bool) -> Condition:
    """Times are compared as they are shown: to the second, a bare date as the day."""
    moment = _moment(value)
    first, after = moment, moment + 1
    if whole_days or (_DATE.fullmatch(value) and not operator):
        first = moment // DAY * DAY
        after = first + DAY
    if operator == "":
        return Condition(f"{column} >= ? and {column} < ?", (first, after))
    if operator in {">", ">="}:
        return Condition(f"{column} >= ?", (first if whole_days or operator == ">=" else after,))
    return Condition(f"{column} < ?", (after if whole_days or operator == "<=" else first,))


def _moment(text: str) -> float:
    try:
        return float(int(epoch(text)))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise NotInSandboxError(f"search value {text!r}") from None
