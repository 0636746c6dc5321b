"""Shopify's search text (`updated_at:>='2026-01-01T00:00:00Z'`) as a condition on our tables."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox.clock import epoch
from sandbox.http import NotInSandboxError

DAY = 86400
_TERM = re.compile(r"""\s*(\w+):(>=|<=|>|<|)('[^']*'|"[^"]*"|[^\s'"()]+)(?=\s|$)""")


@dataclass(frozen=True)
class Condition:
    """`sql` with its bind values; "1" for no condition."""

    sql: str
    values: tuple[float, ...]


def time_condition(text: str, *, columns: dict[str, str], whole_days: bool = False) -> Condition:
    """The condition for a search over times.

    `columns`: search key -> column. `whole_days`: bounds reach over the whole day they fall on,
    as Shopify documents for customers. Raises NotInSandboxError for any other key or syntax,
    where Shopify would match everything and only warn.
    """
    parts: list[str] = []
    values: list[float] = []
    for key, operator, value in _terms(text):
        if key not in columns:
            raise NotInSandboxError(f"search key {key}")
        sql, bounds = _compare(columns[key], operator, _moment(value), whole_days=whole_days)
        parts.append(sql)
        values += bounds
    return Condition(" and ".join(parts) or "1", tuple(values))


def _terms(text: str) -> list[tuple[str, str, str]]:
    terms = []
    rest = text.strip()
    while rest:
        found = _TERM.match(rest)
        if found is None:
            raise NotInSandboxError(f"search text {text!r}")
        terms.append((found[1], found[2], found[3].strip("'\"")))
        rest = re.sub(r"^\s*AND\s+", "", rest[found.end() :]).strip()
    return terms


def _moment(text: str) -> float:
    try:
        return epoch(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise NotInSandboxError(f"search value {text!r}") from None


def _compare(
    column: str, operator: str, moment: float, *, whole_days: bool
) -> tuple[str, list[float]]:
    day = moment // DAY * DAY
    if operator == "":
        return f"{column} >= ? and {column} < ?", [day, day + DAY]
    if whole_days and operator in {">", ">="}:
        return f"{column} >= ?", [day]
    if whole_days:
        return f"{column} < ?", [day + DAY]
    return f"{column} {operator} ?", [moment]
