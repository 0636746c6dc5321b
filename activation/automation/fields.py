"""The parts of a flow that a form shows by name, and the definition that they make.

A form changes what it names and leaves the rest; whole definitions go through versions.save.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from activation.automation.actions import walk
from activation.automation.definition import (
    Branch,
    Definition,
    EnteredSegment,
    SendEmail,
    Silence,
    Step,
    UniqueCode,
    Wait,
)
from activation.automation.validation import InvalidDefinition, Problem
from activation.rendering.content import LIMITS
from core.models.enums import Segment

DELAY: Final = "delay"
UNITS: Final[Mapping[str, timedelta]] = {
    "minutes": timedelta(minutes=1),
    "hours": timedelta(hours=1),
    "days": timedelta(days=1),
}


class FlowFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not set is not changed. A word of None is the template's own again.

    `step_key`: of the mail whose words and code are meant; the first one if not set. Of the fixed
    `discount_code` and the `unique_code` one replaces the other.
    """

    step_key: str | UnsetType = UNSET
    delay_value: int | UnsetType = UNSET
    delay_unit: Literal["minutes", "hours", "days"] | UnsetType = UNSET
    threshold_days: int | UnsetType = UNSET
    segments: tuple[Segment, ...] | UnsetType = UNSET
    subject: str | UnsetType | None = UNSET
    preheader: str | UnsetType | None = UNSET
    headline: str | UnsetType | None = UNSET
    body: str | UnsetType | None = UNSET
    button_text: str | UnsetType | None = UNSET
    button_link: str | UnsetType | None = UNSET
    discount_code: str | UnsetType | None = UNSET
    discount_note: str | UnsetType | None = UNSET
    unique_code: UniqueCode | UnsetType | None = UNSET
    is_capped: bool | UnsetType | None = UNSET
    keeps_quiet_hours: bool | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET
    holdout_percent: int | UnsetType = UNSET


PLAIN: Final = ("is_capped", "keeps_quiet_hours", "priority", "holdout_percent")


@dataclass(frozen=True)
class Delay:
    """The first wait as a form says it."""

    value: int
    unit: str


def read_fields(given: Mapping[str, Any]) -> FlowFields:
    """Raises InvalidDefinition naming the field."""
    try:
        return msgspec.convert(given, FlowFields)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        raise InvalidDefinition(
            [Problem(place.rstrip("`"), words[:1].lower() + words[1:])]
        ) from error


def apply_fields(definition: Definition, fields: FlowFields) -> Definition:
    """The definition with these changes, not yet checked. Raises InvalidDefinition for a field that
    this flow does not have.
    """
    changes: dict[str, Any] = {
        name: getattr(fields, name) for name in PLAIN if getattr(fields, name) is not UNSET
    }
    changes["trigger"] = _trigger(definition, fields)
    steps = _with_delay(definition, fields)
    mail = _mail(definition, fields)
    if mail is not None:
        changed = _with_words(mail, fields)
        steps = _replaced(steps, mail.step_key, changed)
    changes["steps"] = steps
    try:
        return _rebuilt(definition, changes)
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidDefinition([Problem("", str(error))]) from error


def fields_of(definition: Definition, step_key: str | None = None) -> dict[str, Any]:
    """What a form shows: each field with its value, as JSON. A field the flow lacks is None."""
    mail = _mail(definition, FlowFields(step_key=UNSET if step_key is None else step_key))
    trigger, rules, delay = definition.trigger, definition.rules, delay_of(definition)
    segments = trigger.segments if isinstance(trigger, EnteredSegment | Silence) else None
    words = {} if mail is None else msgspec.structs.asdict(mail.words)
    code = mail.unique_code if mail else None
    return {
        "step_key": mail and mail.step_key,
        "delay_value": delay and delay.value,
        "delay_unit": delay and delay.unit,
        "threshold_days": trigger.days if isinstance(trigger, Silence) else None,
        "segments": None if segments is None else [each.value for each in segments],
        **{name: words.get(name) for name in LIMITS},
        "unique_code": code and msgspec.to_builtins(code),
        "is_capped": rules.is_capped,
        "keeps_quiet_hours": rules.keeps_quiet_hours,
        "priority": rules.priority,
        "holdout_percent": definition.holdout_percent,
    }


def delay_of(definition: Definition) -> Delay | None:
    """In the largest unit that says it whole; None: nothing is waited for."""
    waits = definition.first_waits
    if not waits:
        return None
    wait = waits[0]
    if wait.days and not wait.seconds:
        return Delay(wait.days, "days")
    for unit in ("days", "hours", "minutes"):
        if wait.duration >= UNITS[unit] and not wait.duration % UNITS[unit]:
            return Delay(wait.duration // UNITS[unit], unit)
    return Delay(round(wait.duration / UNITS["minutes"]), "minutes")


def _with_delay(definition: Definition, fields: FlowFields) -> tuple[Step, ...]:
    if fields.delay_value is UNSET and fields.delay_unit is UNSET:
        return definition.steps
    before = delay_of(definition)
    was = (before.value, before.unit) if before else (None, None)
    value = was[0] if fields.delay_value is UNSET else fields.delay_value
    unit = was[1] if fields.delay_unit is UNSET else fields.delay_unit
    if value is None or unit is None:
        raise InvalidDefinition([Problem("delay_value", "a delay is a number and its unit")])
    length = value * UNITS[unit] if 0 < value < 10**6 else timedelta()
    if not UNITS["minutes"] <= length <= timedelta(days=365):
        raise InvalidDefinition([Problem("delay_value", "a delay is from 1 minute to 365 days")])
    key = definition.first_waits[0].step_key if definition.first_waits else _free_key(definition)
    wait = (
        Wait(step_key=key, days=value)
        if unit == "days"
        else Wait(step_key=key, seconds=int(length.total_seconds()))
    )
    if definition.first_waits:
        return _replaced(definition.steps, key, wait)
    return (wait, *definition.steps)


def _free_key(definition: Definition) -> str:
    number, key = 1, DELAY
    while key in definition.step_keys:
        number += 1
        key = f"{DELAY}_{number}"
    return key


def _trigger(definition: Definition, fields: FlowFields) -> Any:
    trigger = definition.trigger
    changes: dict[str, Any] = {}
    if fields.threshold_days is not UNSET:
        if not isinstance(trigger, Silence):
            raise InvalidDefinition([Problem("threshold_days", "this flow waits for no silence")])
        if not 1 <= fields.threshold_days <= 1095:  # noqa: PLR2004 - as triggers.Days
            raise InvalidDefinition([Problem("threshold_days", "from 1 to 1095 days")])
        changes["days"] = fields.threshold_days
    if fields.segments is not UNSET:
        if not isinstance(trigger, EnteredSegment | Silence):
            raise InvalidDefinition([Problem("segments", "this flow's trigger has no segments")])
        if not fields.segments:
            raise InvalidDefinition([Problem("segments", "at least one segment")])
        changes["segments"] = fields.segments
    return msgspec.structs.replace(trigger, **changes) if changes else trigger


def _mail(definition: Definition, fields: FlowFields) -> SendEmail | None:
    mails = [step for step in walk(definition.steps) if isinstance(step, SendEmail)]
    if fields.step_key is UNSET:
        return mails[0] if mails else None
    for mail in mails:
        if mail.step_key == fields.step_key:
            return mail
    raise InvalidDefinition([Problem("step_key", f"there is no mail {fields.step_key!r} here")])


def _with_words(mail: SendEmail, fields: FlowFields) -> SendEmail:
    said = {name: getattr(fields, name) for name in LIMITS if getattr(fields, name) is not UNSET}
    unique = mail.unique_code if fields.unique_code is UNSET else fields.unique_code
    if fields.unique_code is not UNSET and fields.unique_code is not None:
        if said.get("discount_code"):
            raise InvalidDefinition(
                [Problem("discount_code", "either one code for all, or each customer's own")]
            )
        said["discount_code"] = None
    elif said.get("discount_code"):
        unique = None
    content = msgspec.structs.replace(mail.words, **said)
    return msgspec.structs.replace(mail, subject=None, content=content, unique_code=unique)


def _replaced(steps: tuple[Step, ...], key: str, new: Step) -> tuple[Step, ...]:
    return tuple(
        new
        if step.step_key == key
        else msgspec.structs.replace(
            step,
            then=_replaced(step.then, key, new),
            otherwise=_replaced(step.otherwise, key, new),
        )
        if isinstance(step, Branch)
        else step
        for step in steps
    )


def _rebuilt(definition: Definition, changes: Mapping[str, Any]) -> Definition:
    """Through the types again, which bound numbers."""
    made = msgspec.structs.replace(definition, **changes)
    return msgspec.convert(msgspec.to_builtins(made), Definition)
