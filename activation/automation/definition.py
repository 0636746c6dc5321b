"""What a version of an automation holds: a trigger, ordered steps, and who leaves or comes back.

Stored as JSON in `crm.automation_versions`; a row never changes, an edit adds one.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from activation.automation.actions import (
    AddTag,
    Branch,
    Condition,
    Fork,
    HasTag,
    InSegment,
    Instruction,
    Jump,
    OrderCount,
    RemoveTag,
    SendEmail,
    Step,
    TotalSpent,
    UniqueCode,
    Wait,
    compile_steps,
    walk,
)
from activation.automation.triggers import (
    AbandonedCheckout,
    AnyOrder,
    ConsentGiven,
    EnteredSegment,
    FirstOrder,
    Silence,
    TagAdded,
    Trigger,
)
from activation.eligibility.flows import FlowRules, rules_by_trigger
from core.errors import PermanentError

__all__ = [
    "AbandonedCheckout",
    "AddTag",
    "Again",
    "AnyOrder",
    "Branch",
    "Condition",
    "ConsentGiven",
    "Definition",
    "EnteredSegment",
    "ExitOn",
    "FirstOrder",
    "Fork",
    "HasTag",
    "InSegment",
    "Instruction",
    "Jump",
    "Once",
    "OrderCount",
    "Reentry",
    "RemoveTag",
    "SendEmail",
    "Silence",
    "Step",
    "TagAdded",
    "TotalSpent",
    "Trigger",
    "UniqueCode",
    "Wait",
    "read_definition",
    "write_definition",
]

HIGHEST_PRIORITY: Final = 1
LOWEST_PRIORITY: Final = 99


class ExitOn(StrEnum):
    """What ends a flow early, besides that what started it is no longer so. An order is the goal.

    `left_segments`: the customer is in none of the trigger's segments any more.
    """

    ORDERED = "ordered"
    LEFT_SEGMENTS = "left_segments"


class Once(msgspec.Struct, frozen=True, tag_field="type", tag="once"):
    """Once in a customer's life."""


class Again(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="again",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Once per entry key, and not within `after_days` times 24 hours of the last entry."""

    after_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0


Reentry: TypeAlias = Once | Again


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`late_after_seconds`: how long after it was due a message may still leave.

    `reentry` None: as is usual for the trigger. The last three say how this flow differs from what
    is usual for its trigger (activation/eligibility/flows.py); None: it does not.
    """

    trigger: Trigger
    steps: tuple[Step, ...]
    late_after_seconds: int
    exit_on: tuple[ExitOn, ...] = ()
    reentry: Reentry | None = None
    holdout_percent: Annotated[int, msgspec.Meta(ge=0, le=50)] = 0
    priority: int | None = None
    is_capped: bool | None = None
    keeps_quiet_hours: bool | None = None

    def __post_init__(self) -> None:
        if len(set(self.step_keys)) != len(self.step_keys):
            raise ValueError("each step needs a step_key of its own")
        if self.late_after_seconds < 0 or any(
            isinstance(step, Wait) and min(step.seconds, step.days) < 0 for step in walk(self.steps)
        ):
            raise ValueError("a time span cannot be negative")
        if self.priority is not None and not HIGHEST_PRIORITY <= self.priority <= LOWEST_PRIORITY:
            raise ValueError(
                f"a priority is a number from {HIGHEST_PRIORITY} (first) to {LOWEST_PRIORITY}"
            )

    @property
    def late_after(self) -> timedelta:
        return timedelta(seconds=self.late_after_seconds)

    @property
    def trigger_type(self) -> str:
        return str(self.trigger.__struct_config__.tag)

    @property
    def rules(self) -> FlowRules:
        """How urgent its mail is, and whether caps and quiet hours are for it."""
        return rules_by_trigger(self.trigger_type).changed(
            priority=self.priority,
            is_capped=self.is_capped,
            keeps_quiet_hours=self.keeps_quiet_hours,
        )

    @property
    def entry(self) -> Reentry:
        """How often one may enter."""
        if self.reentry is not None:
            return self.reentry
        return Once() if isinstance(self.trigger, FirstOrder) else Again()

    @property
    def first_waits(self) -> tuple[Wait, ...]:
        """Those before the first step that does something."""
        waits = []
        for step in self.steps:
            if not isinstance(step, Wait):
                break
            waits.append(step)
        return tuple(waits)

    @property
    def first_delay(self) -> timedelta:
        """From the moment to the first step that does something, with days of 24 hours."""
        return sum((wait.duration for wait in self.first_waits), timedelta())

    def first_due(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """When the first step that does something is due for whoever has this moment."""
        for wait in self.first_waits:
            moment = wait.ends(moment, zone)
        return moment

    @property
    def program(self) -> tuple[Instruction, ...]:
        """What `enrollments.step_position` counts in."""
        return compile_steps(self.steps)

    @property
    def step_keys(self) -> tuple[str, ...]:
        return tuple(step.step_key for step in walk(self.steps))

    def step_of(self, step_key: str) -> Step | None:
        return next((step for step in walk(self.steps) if step.step_key == step_key), None)

    def position_of(self, step_key: str) -> int | None:
        """Where in the program the step is."""
        for position, instruction in enumerate(self.program):
            step = instruction.branch if isinstance(instruction, Fork) else instruction
            if not isinstance(step, Jump) and step.step_key == step_key:
                return position
        return None


def read_definition(stored: Mapping[str, Any]) -> Definition:
    """Raises PermanentError when a stored definition is not one this version understands."""
    try:
        return msgspec.convert(stored, Definition)
    except msgspec.ValidationError as error:
        raise PermanentError(f"This automation cannot be read: {error}") from error


def write_definition(definition: Definition) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(definition)
    return builtins
