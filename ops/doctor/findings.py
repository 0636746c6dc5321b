"""One line of the doctor's report."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but not as it should
    FAIL = "fail"  # mail does not leave, does not arrive, or nobody is told what became of it
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """`advice` says what to do; empty where there is nothing."""

    name: str
    state: State
    words: str
    advice: str = ""
    shop: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"state": self.state.value}

    def line(self) -> str:
        where = f"{self.shop}: " if self.shop else ""
        lines = [f"{self.state.value:<12} {self.name:<18} {where}{self.words}"]
        return "\n".join(lines + ([f"{'':<32}{self.advice}"] if self.advice else []))


def ok(name: str, words: str, *, shop: str | None = None) -> Finding:
    return Finding(name, State.OK, words, shop=shop)


def warn(name: str, words: str, advice: str, *, shop: str | None = None) -> Finding:
    return Finding(name, State.WARN, words, advice, shop)


def fail(name: str, words: str, advice: str, *, shop: str | None = None) -> Finding:
    return Finding(name, State.FAIL, words, advice, shop)


def unchecked(name: str, words: str, *, shop: str | None = None) -> Finding:
    return Finding(name, State.UNCHECKED, words, shop=shop)


def has_failed(findings: Iterable[Finding]) -> bool:
    return any(each.state is State.FAIL for each in findings)
