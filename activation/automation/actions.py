"""The steps of an automation, and the flat program that they come to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from activation.rendering.content import MailContent
from core.models.enums import Segment

AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Wait(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="wait",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """`days` are calendar days in the shop's zone: the same time of day, that much later."""

    step_key: str
    seconds: int = 0
    days: int = 0

    @property
    def duration(self) -> timedelta:
        """With days of 24 hours; when it ends in a zone, `ends` says."""
        return timedelta(days=self.days, seconds=self.seconds)

    def ends(self, at: datetime, zone: ZoneInfo) -> datetime:
        """When a wait that began `at` is over. A time of day that the zone leaves out is taken as
        if the clock had not been moved; one that comes twice is the first.
        """
        if self.days:
            at = (at.astimezone(zone) + timedelta(days=self.days)).astimezone(UTC)
        return at.astimezone(UTC) + timedelta(seconds=self.seconds)


class UniqueCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A discount of one customer's own, made at Shopify: a share of the order or a sum off it."""

    percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    amount: Decimal | None = None
    prefix: str = ""
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.amount is None):
            raise ValueError("a code takes off either a percentage or an amount")
        if self.amount is not None and self.amount <= 0:
            raise ValueError("a code takes off more than nothing")


class SendEmail(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="send_email",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """`template` names a folder of activation/templates; `content` goes before its own words.

    Whoever saves a step passes its content through `clean_content` first. `unique_code` goes before
    the code that all get. `subject`: of versions that were stored before there was content; a
    stored version never changes.
    """

    step_key: str
    template: str
    subject: str | None = None
    content: MailContent = MailContent()
    unique_code: UniqueCode | None = None

    @property
    def words(self) -> MailContent:
        if self.subject is None or self.content.subject is not None:
            return self.content
        return msgspec.structs.replace(self.content, subject=self.subject)


class AddTag(
    msgspec.Struct, frozen=True, tag_field="type", tag="add_tag", forbid_unknown_fields=True
):
    """Written to Shopify, for those held out too."""

    step_key: str
    tag: str


class RemoveTag(
    msgspec.Struct, frozen=True, tag_field="type", tag="remove_tag", forbid_unknown_fields=True
):
    step_key: str
    tag: str


class InSegment(
    msgspec.Struct, frozen=True, tag_field="type", tag="in_segment", forbid_unknown_fields=True
):
    segments: tuple[Segment, ...]


class HasTag(
    msgspec.Struct, frozen=True, tag_field="type", tag="has_tag", forbid_unknown_fields=True
):
    tag: str


class OrderCount(
    msgspec.Struct, frozen=True, tag_field="type", tag="order_count", forbid_unknown_fields=True
):
    """Counted orders in all."""

    at_least: AtLeastOne


class TotalSpent(
    msgspec.Struct, frozen=True, tag_field="type", tag="total_spent", forbid_unknown_fields=True
):
    """In the shop's currency, net of refunds."""

    at_least: Decimal

    def __post_init__(self) -> None:
        if self.at_least <= 0:
            raise ValueError("whoever has ordered has spent that: it takes an amount above 0")


Condition: TypeAlias = InSegment | HasTag | OrderCount | TotalSpent


class Branch(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="branch",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Looked at when a customer reaches it; after either way they go on with what follows it."""

    step_key: str
    condition: Condition
    then: tuple["Step", ...] = ()
    otherwise: tuple["Step", ...] = ()


Step: TypeAlias = Wait | SendEmail | AddTag | RemoveTag | Branch


@dataclass(frozen=True)
class Fork:
    """Go on with the next instruction if the branch's condition holds, else at `otherwise`."""

    branch: Branch
    otherwise: int


@dataclass(frozen=True)
class Jump:
    to: int


Instruction: TypeAlias = Wait | SendEmail | AddTag | RemoveTag | Fork | Jump


def compile_steps(steps: Sequence[Step]) -> tuple[Instruction, ...]:
    """One flat program; jumps lead forward only, so it ends. Without branches: the steps."""
    program: list[Instruction] = []
    _compile(steps, program)
    return tuple(program)


def _compile(steps: Sequence[Step], program: list[Instruction]) -> None:
    for step in steps:
        if not isinstance(step, Branch):
            program.append(step)
            continue
        fork = len(program)
        program.append(Jump(fork))  # its place; where it leads is known below
        _compile(step.then, program)
        if step.otherwise:
            skip = len(program)
            program.append(Jump(skip))
            program[fork] = Fork(step, len(program))
            _compile(step.otherwise, program)
            program[skip] = Jump(len(program))
        else:
            program[fork] = Fork(step, len(program))


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step, those inside branches after their branch."""
    for step in steps:
        yield step
        if isinstance(step, Branch):
            yield from walk(step.then)
            yield from walk(step.otherwise)
