"""What differs between two definitions, place by place.

A step is known by its key, so that one put in front is one difference and not one for each behind
it: `steps[welcome_email].content.subject`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from activation.automation.definition import Definition, write_definition

ABSENT: Final = None  # as JSON: a definition leaves out what is not said


@dataclass(frozen=True)
class Difference:
    """`before` None: it was not there; `after` None: it is not there any more."""

    place: str
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        return {"place": self.place, "before": self.before, "after": self.after}


def differences(before: Definition | None, after: Definition) -> tuple[Difference, ...]:
    """In the order of the definition; none: they say the same."""
    old = {} if before is None else write_definition(before)
    return tuple(_of_mappings(old, write_definition(after), ""))


def _of_mappings(
    old: Mapping[str, Any], new: Mapping[str, Any], place: str
) -> Iterator[Difference]:
    for name in [*old, *(name for name in new if name not in old)]:
        here = f"{place}.{name}" if place else name
        yield from _of_values(old.get(name, ABSENT), new.get(name, ABSENT), here)


def _of_values(old: Any, new: Any, place: str) -> Iterator[Difference]:
    if old == new:
        return
    if _are_steps(old) and _are_steps(new):
        yield from _of_steps(old, new, place)
    elif isinstance(old, Mapping) and isinstance(new, Mapping) and _type(old) == _type(new):
        yield from _of_mappings(old, new, place)
    else:
        yield Difference(place, old, new)


def _of_steps(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], place: str
) -> Iterator[Difference]:
    was = {step["step_key"]: step for step in old}
    will_be = {step["step_key"]: step for step in new}
    for key in [*was, *(key for key in will_be if key not in was)]:
        yield from _of_values(was.get(key, ABSENT), will_be.get(key, ABSENT), f"{place}[{key}]")
    stay_before = [key for key in was if key in will_be]
    stay_after = [key for key in will_be if key in was]
    if stay_before != stay_after:
        yield Difference(f"{place} (order)", stay_before, stay_after)


def _are_steps(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(each, Mapping) and "step_key" in each for each in value
    )


def _type(value: Mapping[str, Any]) -> Any:
    return value.get("type")
