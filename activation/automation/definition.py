"""What a version of an automation holds: one trigger and ordered steps.

Stored as JSON in `crm.automation_versions`; a row never changes, an edit adds one.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

import msgspec

from activation.eligibility.flows import FlowRules, rules_by_trigger
from activation.rendering.content import MailContent
from core.errors import PermanentError

HIGHEST_PRIORITY: Final = 1
LOWEST_PRIORITY: Final = 99


class FirstOrder(msgspec.Struct, frozen=True, tag_field="type", tag="first_order"):
    """The customer's first counted order; its moment is the order's `processed_at`."""


class ConsentGiven(msgspec.Struct, frozen=True, tag_field="type", tag="consent_given"):
    """A subscription that is to be confirmed. Nobody is enrolled by it: activation/consent queues
    its one mail, which is no marketing.
    """


class Wait(msgspec.Struct, frozen=True, tag_field="type", tag="wait", forbid_unknown_fields=True):
    step_key: str
    seconds: int

    @property
    def duration(self) -> timedelta:
        return timedelta(seconds=self.seconds)


class SendEmail(
    msgspec.Struct, frozen=True, tag_field="type", tag="send_email", forbid_unknown_fields=True
):
    """`template` names a folder of activation/templates; `content` goes before its own words.

    Whoever saves a step passes its content through `clean_content` first. `subject`: of versions
    that were stored before there was content; a stored version never changes.
    """

    step_key: str
    template: str
    subject: str | None = None
    content: MailContent = MailContent()

    @property
    def words(self) -> MailContent:
        if self.subject is None or self.content.subject is not None:
            return self.content
        return msgspec.structs.replace(self.content, subject=self.subject)


Step: TypeAlias = Wait | SendEmail
Trigger: TypeAlias = FirstOrder | ConsentGiven


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`late_after_seconds`: how long after it was due a message may still leave.

    The last three say how this flow differs from what is usual for its trigger
    (activation/eligibility/flows.py); None: it does not.
    """

    trigger: Trigger
    steps: tuple[Step, ...]
    late_after_seconds: int
    priority: int | None = None
    is_capped: bool | None = None
    keeps_quiet_hours: bool | None = None

    def __post_init__(self) -> None:
        if len(set(self.step_keys)) != len(self.steps):
            raise ValueError("each step needs a step_key of its own")
        if self.late_after_seconds < 0 or any(
            isinstance(step, Wait) and step.seconds < 0 for step in self.steps
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
    def rules(self) -> FlowRules:
        """How urgent its mail is, and whether caps and quiet hours are for it."""
        usual = rules_by_trigger(str(self.trigger.__struct_config__.tag))
        return usual.changed(
            priority=self.priority,
            is_capped=self.is_capped,
            keeps_quiet_hours=self.keeps_quiet_hours,
        )

    @property
    def first_delay(self) -> timedelta:
        """From the moment to the first step that does something."""
        total = timedelta()
        for step in self.steps:
            if not isinstance(step, Wait):
                break
            total += step.duration
        return total

    @property
    def step_keys(self) -> tuple[str, ...]:
        return tuple(step.step_key for step in self.steps)

    def position_of(self, step_key: str) -> int | None:
        return self.step_keys.index(step_key) if step_key in self.step_keys else None


def read_definition(stored: Mapping[str, Any]) -> Definition:
    """Raises PermanentError when a stored definition is not one this version understands."""
    try:
        return msgspec.convert(stored, Definition)
    except msgspec.ValidationError as error:
        raise PermanentError(f"This automation cannot be read: {error}") from error


def write_definition(definition: Definition) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(definition)
    return builtins
