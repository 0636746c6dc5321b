"""Switching automations on and off, and the one edit there is so far: a delay."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from activation.automation.definition import (
    Definition,
    Silence,
    Wait,
    read_definition,
    write_definition,
)
from core.errors import PermanentError
from core.models import Automation, AutomationVersion


@dataclass(frozen=True)
class LoadedAutomation:
    """An automation with its current definition."""

    automation_id: int
    key: str
    name: str
    version: int
    definition: Definition
    is_active: bool
    switched_on_at: datetime | None
    evaluated_at: datetime | None = None
    evaluated_version: int | None = None
    takes_silent: bool = False


def load_automations(session: Session, shop_id: int) -> list[LoadedAutomation]:
    """All automations of the shop, by key."""
    rows = session.execute(
        select(
            Automation.automation_id,
            Automation.key,
            Automation.name,
            Automation.current_version,
            Automation.is_active,
            Automation.switched_on_at,
            Automation.evaluated_at,
            Automation.evaluated_version,
            Automation.takes_silent,
            AutomationVersion.definition,
        )
        .join(
            AutomationVersion,
            (AutomationVersion.shop_id == Automation.shop_id)
            & (AutomationVersion.automation_id == Automation.automation_id)
            & (AutomationVersion.version == Automation.current_version),
        )
        .where(Automation.shop_id == shop_id)
        .order_by(Automation.key)
    )
    return [
        LoadedAutomation(
            automation_id=row.automation_id,
            key=row.key,
            name=row.name,
            version=row.current_version,
            definition=read_definition(row.definition),
            is_active=row.is_active,
            switched_on_at=row.switched_on_at,
            evaluated_at=row.evaluated_at,
            evaluated_version=row.evaluated_version,
            takes_silent=row.takes_silent,
        )
        for row in rows
    ]


def switch_on(
    session: Session, shop_id: int, key: str, *, now: datetime, include_silent: bool = True
) -> Automation:
    """Moments from business `now` on enrol; switching on what is on changes nothing.

    A flow of silence also takes those who are silent already, over days, unless `include_silent`
    says otherwise (spreading.py says how many they are). Raises PermanentError when the shop has no
    such automation.
    """
    automation = _locked(session, shop_id, key)
    if not automation.is_active:
        automation.is_active = True
        automation.switched_on_at = now
        automation.evaluated_at = automation.evaluated_version = None
        trigger = _current_definition(session, automation).trigger
        automation.takes_silent = include_silent and isinstance(trigger, Silence)
        session.flush()
    return automation


def switch_off(
    session: Session,
    shop_id: int,
    key: str,
    *,
    now: datetime,  # noqa: ARG001 - called through the same toggle as switch_on
) -> Automation:
    """Off at the next evaluation: what is due afterwards is skipped with its reason."""
    automation = _locked(session, shop_id, key)
    automation.is_active = False
    session.flush()
    return automation


def set_delay(
    session: Session, shop_id: int, key: str, step_key: str, delay: timedelta, *, now: datetime
) -> int:
    """Add a version whose wait `step_key` lasts `delay`; returns its number.

    Customers already inside that wait keep the one they entered with. Raises PermanentError when
    there is no such automation or no such wait, or the delay is negative.
    """
    automation = _locked(session, shop_id, key)
    definition = _current_definition(session, automation)
    position = definition.position_of(step_key)
    if position is None or not isinstance(definition.steps[position], Wait):
        raise PermanentError(f"The automation {key!r} has no wait named {step_key!r}.")
    if delay < timedelta():
        raise PermanentError("A delay cannot be negative.")
    steps = list(definition.steps)
    steps[position] = Wait(step_key=step_key, seconds=int(delay.total_seconds()))
    return _add_version(
        session, automation, msgspec.structs.replace(definition, steps=tuple(steps)), now=now
    )


def set_holdout(session: Session, shop_id: int, key: str, percent: int, *, now: datetime) -> int:
    """Add a version that holds out `percent` of its customers; returns its number.

    For whoever enters from now on. Raises PermanentError when there is no such automation.
    """
    automation = _locked(session, shop_id, key)
    definition = _current_definition(session, automation)
    changed = msgspec.structs.replace(definition, holdout_percent=percent)
    return _add_version(session, automation, changed, now=now)


def _locked(session: Session, shop_id: int, key: str) -> Automation:
    automation = session.scalar(
        select(Automation)
        .where(Automation.shop_id == shop_id, Automation.key == key)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if automation is None:
        raise PermanentError(f"This shop has no automation {key!r}.")
    return automation


def _current_definition(session: Session, automation: Automation) -> Definition:
    version = session.get_one(
        AutomationVersion,
        (automation.shop_id, automation.automation_id, automation.current_version),
    )
    return read_definition(version.definition)


def _add_version(
    session: Session, automation: Automation, definition: Definition, *, now: datetime
) -> int:
    version = automation.current_version + 1
    session.add(
        AutomationVersion(
            shop_id=automation.shop_id,
            automation_id=automation.automation_id,
            version=version,
            definition=write_definition(definition),
            created_at=now,
        )
    )
    session.flush()
    automation.current_version = version
    session.flush()
    return version
