"""One walk through a program: past every wait that is over, up to the next that is not. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from activation.automation.actions import (
    AddTag,
    Condition,
    Fork,
    Instruction,
    Jump,
    RemoveTag,
    SendEmail,
    Wait,
)

Action: TypeAlias = SendEmail | AddTag | RemoveTag
Holds: TypeAlias = Callable[[Condition, Sequence["Due"]], bool]


@dataclass(frozen=True)
class Due:
    """A step that does something, and when it was due."""

    step: Action
    due_at: datetime


@dataclass(frozen=True)
class Walked:
    """What is to be done, in order, and where they stand then; `due_at` None: at the end."""

    actions: tuple[Due, ...]
    position: int
    due_at: datetime | None


def walk(
    program: Sequence[Instruction],
    position: int,
    due_at: datetime,
    *,
    now: datetime,
    zone: ZoneInfo,
    holds: Holds,
) -> Walked:
    """From `position`, due at `due_at`, to the first wait that ends after `now`.

    Each wait counts from when the step before it was due, not from when somebody came by: so it
    does not matter how late that was. `holds` says whether a condition does, after these actions.
    """
    actions: list[Due] = []
    while position < len(program):
        instruction = program[position]
        position += 1
        match instruction:
            case Wait():
                due_at = instruction.ends(due_at, zone)
                if due_at > now:
                    return Walked(tuple(actions), position, due_at)
            case Jump(to=to):
                position = to
            case Fork(branch=branch, otherwise=otherwise):
                if not holds(branch.condition, actions):
                    position = otherwise
            case step:
                actions.append(Due(step, due_at))
    return Walked(tuple(actions), position, None)
