"""Whether a definition may be saved: every fault with the place it is at.

    read      from JSON or YAML to types; what has the wrong type has a place too
    check     what types cannot say: lengths of waits, words, templates, tags, branches
    loops     flows that would trigger themselves, alone or by way of others (loops.py)

A place reads as the definition does: `steps[1].content.subject`. What a version holds already may
stay when another part is edited: an old wait does not keep anybody from mending a subject.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from activation.automation.definition import (
    AddTag,
    Branch,
    Definition,
    EnteredSegment,
    ExitOn,
    HasTag,
    InSegment,
    RemoveTag,
    SendEmail,
    Silence,
    Step,
    TagAdded,
    UniqueCode,
    Wait,
)
from activation.automation.words import clean_words
from activation.rendering.templates import template_names
from core.errors import PermanentError
from core.models.enums import Segment

SHORTEST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(days=365)
LONGEST_LATENESS: Final = timedelta(days=60)
MOST_STEPS: Final = 50
DEEPEST_BRANCH: Final = 3
MAX_TAG: Final = 40  # Shopify's own bound for tags of customers
MOST_OFF: Final = 100_000
STEP_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
PREFIX: Final = re.compile(r"[A-Za-z0-9-]{0,20}")
# The default itself, which is left out of JSON; one that equals it is not.
NO_WORDS: Final = SendEmail(step_key="", template="").content
PLACE: Final = re.compile(r"^(?P<words>.*?)(?: - at `\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; an empty place is the definition as a whole."""

    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}" if self.place else self.words


class InvalidDefinition(PermanentError):  # noqa: N818 - what it is, like Conflict
    """A definition that cannot be kept. Nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)

    def as_json(self) -> dict[str, Any]:
        return {"problems": [{"place": each.place, "words": each.words} for each in self.problems]}


def valid_definition(
    given: Mapping[str, Any] | Definition, *, before: Definition | None = None
) -> Definition:
    """The definition as it is kept, its words cleaned. Raises InvalidDefinition naming all faults.

    `before`: the version it follows.
    """
    definition = given if isinstance(given, Definition) else read(given)
    problems: list[Problem] = []
    steps = _cleaned(definition.steps, "steps", problems)
    problems += check(definition, before=before)
    if problems:
        raise InvalidDefinition(problems)
    return msgspec.structs.replace(definition, steps=steps)


def read(given: Mapping[str, Any]) -> Definition:
    """Raises InvalidDefinition for what is not of the right shape."""
    twice = list(_twice(given.get("steps")))
    if twice:
        raise InvalidDefinition(twice)
    try:
        return msgspec.convert(given, Definition)
    except msgspec.ValidationError as error:
        raise InvalidDefinition([_problem(error)]) from error


def check(definition: Definition, *, before: Definition | None = None) -> Iterator[Problem]:
    """What types cannot say, except of words."""
    yield from _check_trigger(definition)
    if not definition.steps:
        yield Problem("steps", "a flow has at least one step")
    if len(definition.step_keys) > MOST_STEPS:
        yield Problem("steps", f"a flow has at most {MOST_STEPS} steps")
    known = {} if before is None else {key: before.step_of(key) for key in before.step_keys}
    yield from _check_steps(definition.steps, "steps", known, depth=0)
    if definition.late_after > LONGEST_LATENESS:
        yield Problem("late_after_seconds", f"at most {LONGEST_LATENESS.days} days")
    if definition.late_after_seconds < SHORTEST_WAIT.total_seconds():
        yield Problem("late_after_seconds", "at least a minute: a mail needs time to leave")
    if len(set(definition.exit_on)) != len(definition.exit_on):
        yield Problem("exit_on", "each exit once")
    if ExitOn.LEFT_SEGMENTS in definition.exit_on and not _segments(definition):
        yield Problem("exit_on", "left_segments needs a trigger that names segments")


def _check_trigger(definition: Definition) -> Iterator[Problem]:
    match definition.trigger:
        case EnteredSegment(segments=segments):
            yield from _check_segments(segments, "trigger.segments")
        case Silence(segments=segments) if segments:
            yield from _check_segments(segments, "trigger.segments")
        case TagAdded(tag=tag):
            yield from _check_tag(tag, "trigger.tag")


def _check_steps(
    steps: Sequence[Step], place: str, known: Mapping[str, Step | None], *, depth: int
) -> Iterator[Problem]:
    for number, step in enumerate(steps):
        here = f"{place}[{number}]"
        if known.get(step.step_key) == step:
            continue
        if not STEP_KEY.fullmatch(step.step_key):
            yield Problem(f"{here}.step_key", "a-z, 0-9, _ and -, at most 50 of them")
        match step:
            case Wait():
                yield from _check_wait(step, here)
            case SendEmail():
                yield from _check_mail(step, here)
            case AddTag(tag=tag) | RemoveTag(tag=tag):
                yield from _check_tag(tag, f"{here}.tag")
            case Branch():
                yield from _check_branch(step, here, known, depth=depth + 1)


def _check_wait(wait: Wait, place: str) -> Iterator[Problem]:
    if not SHORTEST_WAIT <= wait.duration <= LONGEST_WAIT:
        yield Problem(place, f"a wait lasts from 1 minute to {LONGEST_WAIT.days} days")


def _check_mail(mail: SendEmail, place: str) -> Iterator[Problem]:
    if mail.template not in template_names():
        yield Problem(f"{place}.template", f"there is no mail template {mail.template!r}")
    if mail.unique_code is not None:
        yield from _check_code(mail.unique_code, f"{place}.unique_code")


def _check_code(code: UniqueCode, place: str) -> Iterator[Problem]:
    if not PREFIX.fullmatch(code.prefix):
        yield Problem(f"{place}.prefix", "letters, digits and -, at most 20 of them")
    if code.amount is not None and code.amount > MOST_OFF:
        yield Problem(f"{place}.amount", f"at most {MOST_OFF:,}")
    if code.amount is not None and code.amount != round(code.amount, 2):
        yield Problem(f"{place}.amount", "at most two digits after the point")


def _check_branch(
    branch: Branch, place: str, known: Mapping[str, Step | None], *, depth: int
) -> Iterator[Problem]:
    if depth > DEEPEST_BRANCH:
        yield Problem(place, f"branches within branches, {DEEPEST_BRANCH} deep at most")
        return
    match branch.condition:
        case InSegment(segments=segments):
            yield from _check_segments(segments, f"{place}.condition.segments")
        case HasTag(tag=tag):
            yield from _check_tag(tag, f"{place}.condition.tag")
    if not branch.then and not branch.otherwise:
        yield Problem(place, "a branch has steps on one side at least")
    yield from _check_steps(branch.then, f"{place}.then", known, depth=depth)
    yield from _check_steps(branch.otherwise, f"{place}.otherwise", known, depth=depth)


def _check_segments(segments: Sequence[Segment], place: str) -> Iterator[Problem]:
    if not segments:
        yield Problem(place, "at least one segment")
    elif len(set(segments)) != len(segments):
        yield Problem(place, "each segment once")


def _check_tag(tag: str, place: str) -> Iterator[Problem]:
    if not tag.strip():
        yield Problem(place, "a tag is not empty")
    elif tag != tag.strip() or not tag.isprintable():
        yield Problem(place, "a tag neither begins nor ends with a space, and has no line breaks")
    elif "," in tag:
        yield Problem(place, "Shopify takes a comma for the end of a tag")
    elif len(tag) > MAX_TAG:
        yield Problem(place, f"{len(tag)} characters of at most {MAX_TAG}")


def _cleaned(steps: Sequence[Step], place: str, problems: list[Problem]) -> tuple[Step, ...]:
    """The steps with their words as they are kept; what cannot be is added to `problems`."""
    made: list[Step] = []
    for number, step in enumerate(steps):
        here = f"{place}[{number}]"
        if isinstance(step, SendEmail):
            content, faults = clean_words(step.words)
            problems += [Problem(f"{here}.content.{name}", words) for name, words in faults]
            content = NO_WORDS if content == NO_WORDS else content
            made.append(msgspec.structs.replace(step, content=content, subject=None))
        elif isinstance(step, Branch):
            made.append(
                msgspec.structs.replace(
                    step,
                    then=_cleaned(step.then, f"{here}.then", problems),
                    otherwise=_cleaned(step.otherwise, f"{here}.otherwise", problems),
                )
            )
        else:
            made.append(step)
    return tuple(made)


def _segments(definition: Definition) -> tuple[Segment, ...]:
    trigger = definition.trigger
    return trigger.segments if isinstance(trigger, EnteredSegment | Silence) else ()


def _twice(steps: Any) -> Iterator[Problem]:
    """Each later step whose key another has, read before there are types."""
    seen: Counter[str] = Counter()
    for place, step in _raw_steps(steps, "steps", depth=0):
        key = step.get("step_key")
        if not isinstance(key, str):
            continue
        if seen[key]:
            yield Problem(f"{place}.step_key", f"{key!r} is the key of another step already")
        seen[key] += 1


def _raw_steps(steps: Any, place: str, *, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(steps, Sequence) or isinstance(steps, str) or depth > 2 * DEEPEST_BRANCH:
        return
    for number, step in enumerate(steps):
        if isinstance(step, Mapping):
            here = f"{place}[{number}]"
            yield here, step
            yield from _raw_steps(step.get("then"), f"{here}.then", depth=depth + 1)
            yield from _raw_steps(step.get("otherwise"), f"{here}.otherwise", depth=depth + 1)


def _problem(error: msgspec.ValidationError) -> Problem:
    found = PLACE.fullmatch(str(error))
    if found is None:
        return Problem("", str(error))
    words = found["words"].replace("Object ", "it ").replace("object ", "")
    return Problem(found["place"] or "", words[:1].lower() + words[1:])
