"""The flows of a shop as pages, command line and files see them; switching, naming, making them.

Each takes the caller's session and changes what it says, or nothing. Views have `as_json`. A flow
whose stored version cannot be used is shown with its `problem`, and keeps no other from being.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, Select, exists, select
from sqlalchemy.orm import Session

from activation.automation.actions import walk
from activation.automation.definition import (
    ConsentGiven,
    Definition,
    SendEmail,
    read_definition,
    write_definition,
)
from activation.automation.differing import differences
from activation.automation.presets import PRESETS
from activation.automation.readiness import read_shop, why_blocked
from activation.automation.switching import switch_off, switch_on
from activation.automation.validation import valid_definition
from activation.automation.versions import (
    Saved,
    current_definition,
    lock,
    lock_flows,
    refuse_loops,
)
from activation.consent.preferences import NO_CHOICE
from activation.rendering.compile import TemplateError
from activation.rendering.templates import load_template
from core.errors import PermanentError
from core.models import Automation, AutomationVersion, Enrollment, Message

KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
NOT_IN_KEYS: Final = re.compile(r"[^a-z0-9]+")
SYSTEM_KEY: Final = NO_CHOICE
RESERVED: Final = frozenset({"test", "erased"})  # what keys of messages may begin with
MAX_NAME: Final = 80


class FlowKind(StrEnum):
    """`system`: belongs to a setting (the mail that asks for a confirmation) and is switched by it.

    Only `own` ones can be renamed and deleted.
    """

    PRESET = "preset"
    OWN = "own"
    SYSTEM = "system"


@dataclass(frozen=True)
class Flow:
    """One flow now. `definition` None: the stored one cannot be read, as `problem` says.

    `blocked`: why nobody would enter though it is on.
    """

    key: str
    name: str
    kind: FlowKind
    is_on: bool
    on_since: datetime | None
    version: int
    definition: Definition | None
    problem: str | None
    blocked: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "kind": self.kind.value,
            "on_since": self.on_since and self.on_since.isoformat(),
            "definition": self.definition and write_definition(self.definition),
        }


@dataclass(frozen=True)
class VersionView:
    """`changed`: the places that differ from the version before."""

    version: int
    created_at: datetime
    created_by: int | None
    restored_from: int | None
    changed: tuple[str, ...]
    definition: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"created_at": self.created_at.isoformat()}


def flows_of(session: Session, shop_id: int) -> list[Flow]:
    """All that are not archived: presets in their order, own ones by name, then the system's."""
    rows = session.execute(_current().where(Automation.shop_id == shop_id))
    places = {preset.key: place for place, preset in enumerate(PRESETS)}
    kinds = list(FlowKind)
    scopes = read_shop(session, shop_id).access_scopes
    flows = [_flow(row, scopes) for row in rows.all()]
    return sorted(
        flows,
        key=lambda each: (
            kinds.index(each.kind),
            places.get(each.key, 0),
            each.name.casefold(),
            each.key,
        ),
    )


def flow_of(session: Session, shop_id: int, key: str) -> Flow:
    """Raises PermanentError when the shop has no such flow."""
    row = session.execute(
        _current().where(Automation.shop_id == shop_id, Automation.key == key)
    ).one_or_none()
    if row is None:
        raise PermanentError(f"This shop has no flow {key!r}.")
    return _flow(row, read_shop(session, shop_id).access_scopes)


def history_of(session: Session, shop_id: int, key: str) -> list[VersionView]:
    """Every version, the newest first. Raises PermanentError when the shop has no such flow."""
    rows = session.execute(
        select(AutomationVersion)
        .join(
            Automation,
            (Automation.shop_id == AutomationVersion.shop_id)
            & (Automation.automation_id == AutomationVersion.automation_id),
        )
        .where(
            Automation.shop_id == shop_id,
            Automation.key == key,
            Automation.archived_at.is_(None),
        )
        .order_by(AutomationVersion.version)
    ).scalars()
    views: list[VersionView] = []
    before: Definition | None = None
    for row in rows:
        definition, _ = _understood(row.definition)
        views.append(
            VersionView(
                version=row.version,
                created_at=row.created_at,
                created_by=row.created_by,
                restored_from=row.restored_from,
                changed=_changed(before, definition),
                definition=row.definition,
            )
        )
        before = definition or before
    if not views:
        raise PermanentError(f"This shop has no flow {key!r}.")
    return views[::-1]


def toggle(
    session: Session,
    shop_id: int,
    key: str,
    *,
    on: bool,
    now: datetime,
    include_silent: bool = True,
) -> Flow:
    """On or off from the next evaluation; it stays so. Switching on what is on changes nothing.

    `include_silent`: a flow of silence also takes those silent already (spreading.py).
    Raises InvalidDefinition when it cannot go on as it is, or would trigger itself.
    """
    automation = lock(session, shop_id, key)
    if _kind(automation.key) is FlowKind.SYSTEM:
        raise PermanentError(f"{automation.name} is switched by the shop's consent settings.")
    if not on:
        switch_off(session, shop_id, key, now=now)
    elif not automation.is_active:
        definition = current_definition(session, automation)
        valid_definition(definition, before=definition)
        _refuse_lost_templates(definition)
        refuse_loops(session, shop_id, key, definition)
        switch_on(session, shop_id, key, now=now, include_silent=include_silent)
    return flow_of(session, shop_id, key)


def create(
    session: Session,
    shop_id: int,
    *,
    name: str,
    definition: Mapping[str, Any] | Definition,
    now: datetime,
    key: str | None = None,
    user_id: int | None = None,
    known: Definition | None = None,
) -> Saved:
    """A flow of the merchant's own, switched off. Its key is made of its name unless given.

    `known`: a flow of the shop that it may repeat as it is. Raises InvalidDefinition, or
    PermanentError for a name or key that cannot be.
    """
    lock_flows(session, shop_id)
    name = _name(name)
    valid = valid_definition(definition, before=known)
    if isinstance(valid.trigger, ConsentGiven):
        raise PermanentError("A flow that asks for consent belongs to the shop's consent settings.")
    key = _free_key(session, shop_id, name) if key is None else _new_key(session, shop_id, key)
    automation = Automation(shop_id=shop_id, key=key, name=name, created_at=now)
    session.add(automation)
    session.flush()
    session.add(
        AutomationVersion(
            shop_id=shop_id,
            automation_id=automation.automation_id,
            version=1,
            definition=write_definition(valid),
            created_at=now,
            created_by=user_id,
        )
    )
    session.flush()
    return Saved(key, 1, differences(None, valid))


def duplicate(
    session: Session,
    shop_id: int,
    key: str,
    *,
    name: str,
    now: datetime,
    user_id: int | None = None,
) -> Saved:
    """A copy of the current version as a flow of the merchant's own, switched off."""
    definition = current_definition(session, lock(session, shop_id, key))
    return create(
        session,
        shop_id,
        name=name,
        definition=definition,
        now=now,
        user_id=user_id,
        known=definition,
    )


def rename(session: Session, shop_id: int, key: str, *, name: str) -> Flow:
    """The key stays: messages are known by it."""
    automation = _own(session, shop_id, key)
    automation.name = _name(name)
    session.flush()
    return flow_of(session, shop_id, key)


def delete(session: Session, shop_id: int, key: str, *, now: datetime) -> bool:
    """Whether it is gone. One that anybody ever was in is switched off and archived instead: its
    mails stay explained.
    """
    automation = _own(session, shop_id, key)
    theirs = (shop_id, automation.automation_id)
    was_used = session.scalar(select(_any_of(Enrollment, *theirs) | _any_of(Message, *theirs)))
    if was_used:
        switch_off(session, shop_id, key, now=now)
        automation.archived_at = now
    else:
        for version in session.scalars(
            select(AutomationVersion).where(
                AutomationVersion.shop_id == shop_id,
                AutomationVersion.automation_id == automation.automation_id,
            )
        ).all():
            session.delete(version)
        session.flush()
        session.delete(automation)
    session.flush()
    return not was_used


def _current() -> Select[Any]:
    return (
        select(
            Automation.key,
            Automation.name,
            Automation.is_active,
            Automation.switched_on_at,
            Automation.current_version,
            AutomationVersion.definition,
        )
        .join(
            AutomationVersion,
            (AutomationVersion.shop_id == Automation.shop_id)
            & (AutomationVersion.automation_id == Automation.automation_id)
            & (AutomationVersion.version == Automation.current_version),
        )
        .where(Automation.archived_at.is_(None))
    )


def _flow(row: Row[Any], scopes: Sequence[str]) -> Flow:
    definition, problem = _understood(row.definition)
    return Flow(
        key=row.key,
        name=row.name,
        kind=_kind(row.key, definition),
        is_on=row.is_active,
        on_since=row.switched_on_at if row.is_active else None,
        version=row.current_version,
        definition=definition,
        problem=problem,
        blocked=why_blocked(definition.trigger, scopes) if definition else None,
    )


def _understood(stored: Mapping[str, Any]) -> tuple[Definition | None, str | None]:
    try:
        definition = read_definition(stored)
    except PermanentError as error:
        return None, str(error)
    try:
        _refuse_lost_templates(definition)
    except PermanentError as error:
        return definition, str(error)
    return definition, None


def _refuse_lost_templates(definition: Definition) -> None:
    for step in walk(definition.steps):
        if isinstance(step, SendEmail):
            try:
                load_template(step.template)
            except TemplateError as error:
                raise PermanentError(
                    f"The mail {step.step_key!r} cannot be made: {error} Choose another one; until "
                    "then its mails fail, and nothing else does."
                ) from error


def _changed(before: Definition | None, after: Definition | None) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    return tuple(each.place for each in differences(before, after))


def _kind(key: str, definition: Definition | None = None) -> FlowKind:
    if key in {preset.key for preset in PRESETS}:
        return FlowKind.PRESET
    if key == SYSTEM_KEY or (definition and isinstance(definition.trigger, ConsentGiven)):
        return FlowKind.SYSTEM
    return FlowKind.OWN


def _own(session: Session, shop_id: int, key: str) -> Automation:
    automation = lock(session, shop_id, key)
    if _kind(key) is not FlowKind.OWN:
        raise PermanentError(f"{automation.name} comes with the product: switch it off instead.")
    return automation


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise PermanentError(f"name: a flow has a name of at most {MAX_NAME} characters.")
    return name


def _new_key(session: Session, shop_id: int, key: str) -> str:
    if not KEY.fullmatch(key) or key in RESERVED:
        raise PermanentError(f"key: {key!r} cannot be: a-z, 0-9, _ and -, at most 50 of them.")
    if key in _taken(session, shop_id):
        raise PermanentError(f"key: there is a flow {key!r} already, or was one.")
    return key


def _free_key(session: Session, shop_id: int, name: str) -> str:
    stem = NOT_IN_KEYS.sub("_", name.casefold()).strip("_")[:40] or "flow"
    taken = _taken(session, shop_id) | RESERVED
    number = 1
    while (key := stem if number == 1 else f"{stem}_{number}") in taken:
        number += 1
    return key


def _taken(session: Session, shop_id: int) -> set[str]:
    keys = session.scalars(select(Automation.key).where(Automation.shop_id == shop_id))
    return set(keys) | {preset.key for preset in PRESETS} | {SYSTEM_KEY}


def _any_of(table: type[Enrollment] | type[Message], shop_id: int, automation_id: int) -> Any:
    return exists().where(table.shop_id == shop_id, table.automation_id == automation_id)
