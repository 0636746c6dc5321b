"""Saving flows: each edit is a new version, made on top of the one that the editor saw.

Whoever saves names the version they began from. If there is a later one, nothing is written and
they are shown both (`Conflict`): of two tabs that save at once one wins, the other is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, read_definition, write_definition
from activation.automation.differing import Difference, differences
from activation.automation.fields import apply_fields, read_fields
from activation.automation.loops import loop_through
from activation.automation.validation import InvalidDefinition, Problem, valid_definition
from core.errors import PermanentError
from core.models import Automation, AutomationVersion

LOCK_FLOWS = text("""
-- Changes nothing; holds off others who change flows of this shop until commit. Taken before any
-- row, so that whoever changes several and whoever changes one cannot wait for each other.
SELECT pg_advisory_xact_lock(hashtextextended('flows/' || :shop_id, 0))
""")


class Conflict(PermanentError):  # noqa: N818 - a 409, and what the page says of it
    """Somebody else saved since. Carries what was to be saved, what is there, and what differs."""

    def __init__(
        self, *, based_on: int, current_version: int, current: Definition, given: Definition
    ) -> None:
        super().__init__(
            f"Somebody saved version {current_version} since you began from version {based_on}. "
            "Nothing was written: look at both, and save again on top of the newest."
        )
        self.based_on = based_on
        self.current_version = current_version
        self.current = current
        self.given = given
        self.differences = differences(current, given)

    def as_json(self) -> dict[str, Any]:
        return {
            "based_on": self.based_on,
            "current_version": self.current_version,
            "current": write_definition(self.current),
            "given": write_definition(self.given),
            "differences": [each.as_json() for each in self.differences],
        }


@dataclass(frozen=True)
class Saved:
    """`differences` from the version before; none: nothing was new, and no version was made."""

    key: str
    version: int
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "version": self.version,
            "is_new": bool(self.differences),
            "differences": [each.as_json() for each in self.differences],
        }


def save(
    session: Session,
    shop_id: int,
    key: str,
    given: Mapping[str, Any] | Definition,
    *,
    based_on: int,
    now: datetime,
    user_id: int | None = None,
    known: Definition | None = None,
) -> Saved:
    """Add a version, unless it would say what the current one does.

    Raises InvalidDefinition, Conflict, or PermanentError when there is no such flow. `now` is
    business time; `user_id` None: whoever may use the command line. `known`: what this flow said
    once and may say again, if not what it says now.
    """
    automation = lock(session, shop_id, key)
    before = _readable(session, automation)
    definition = valid_definition(given, before=known or before)
    if before is not None and type(before.trigger) is not type(definition.trigger):
        refuse_other_trigger(before, definition)
    changes = differences(before, definition)
    if not changes:
        return Saved(key, automation.current_version, ())
    if automation.current_version != based_on:
        raise Conflict(
            based_on=based_on,
            current_version=automation.current_version,
            current=before or definition,
            given=definition,
        )
    if automation.is_active:
        refuse_loops(session, shop_id, key, definition)
    version = add_version(session, automation, definition, now=now, user_id=user_id)
    return Saved(key, version, changes)


def save_fields(
    session: Session,
    shop_id: int,
    key: str,
    given: Mapping[str, Any],
    *,
    based_on: int,
    now: datetime,
    user_id: int | None = None,
) -> Saved:
    """As `save`, of what a form names (fields.py); the rest stays as the editor saw it."""
    automation = lock(session, shop_id, key)
    seen = session.get(AutomationVersion, (shop_id, automation.automation_id, based_on))
    if seen is None:
        raise PermanentError(f"The flow {key!r} has no version {based_on}.")
    definition = apply_fields(read_definition(seen.definition), read_fields(given))
    return save(session, shop_id, key, definition, based_on=based_on, now=now, user_id=user_id)


def restore(
    session: Session,
    shop_id: int,
    key: str,
    version: int,
    *,
    based_on: int,
    now: datetime,
    user_id: int | None = None,
) -> Saved:
    """Undo: an earlier version again, as a new one. Raises as `save` does."""
    automation = lock(session, shop_id, key)
    earlier = session.get(AutomationVersion, (shop_id, automation.automation_id, version))
    if earlier is None:
        raise PermanentError(f"The flow {key!r} has no version {version}.")
    definition = read_definition(earlier.definition)
    saved = save(
        session,
        shop_id,
        key,
        definition,
        based_on=based_on,
        now=now,
        user_id=user_id,
        known=definition,
    )
    if saved.differences:
        made = session.get_one(
            AutomationVersion, (shop_id, automation.automation_id, saved.version)
        )
        made.restored_from = version
        session.flush()
    return saved


def add_version(
    session: Session,
    automation: Automation,
    definition: Definition,
    *,
    now: datetime,
    user_id: int | None = None,
) -> int:
    """The next version of an automation that this transaction has locked; it is current from the
    commit on.
    """
    version = automation.current_version + 1
    session.add(
        AutomationVersion(
            shop_id=automation.shop_id,
            automation_id=automation.automation_id,
            version=version,
            definition=write_definition(definition),
            created_at=now,
            created_by=user_id,
        )
    )
    session.flush()
    automation.current_version = version
    session.flush()
    return version


def lock(session: Session, shop_id: int, key: str) -> Automation:
    """Until the transaction ends, and with it all edits of the shop's flows: what one adds may be
    what starts another. Raises PermanentError when the shop has no such flow.
    """
    lock_flows(session, shop_id)
    automation = session.scalar(
        select(Automation)
        .where(
            Automation.shop_id == shop_id,
            Automation.key == key,
            Automation.archived_at.is_(None),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if automation is None:
        raise PermanentError(f"This shop has no flow {key!r}.")
    return automation


def lock_flows(session: Session, shop_id: int) -> None:
    session.execute(LOCK_FLOWS, {"shop_id": shop_id})


def current_definition(session: Session, automation: Automation) -> Definition:
    """Raises PermanentError when this release cannot read it."""
    version = session.get_one(
        AutomationVersion,
        (automation.shop_id, automation.automation_id, automation.current_version),
    )
    return read_definition(version.definition)


def refuse_loops(session: Session, shop_id: int, key: str, definition: Definition) -> None:
    """Raises InvalidDefinition if the flow, on beside those that are, would come back to itself."""
    flows = _active_definitions(session, shop_id) | {key: definition}
    way = loop_through(key, flows)
    if way is None:
        return
    if len(way) == 2:  # noqa: PLR2004 - itself, twice
        words = f"it would trigger itself: it adds the tag that starts {key!r}"
    else:
        words = "it would trigger itself: " + ", which starts ".join(map(repr, way))
    raise InvalidDefinition([Problem("trigger.tag", words)])


def refuse_other_trigger(before: Definition, after: Definition) -> None:
    """Whoever is in a flow came in by its trigger, and their entry keys are made by its kind."""
    raise InvalidDefinition(
        [
            Problem(
                "trigger.type",
                f"{before.trigger_type} cannot become {after.trigger_type}; make another flow",
            )
        ]
    )


def _readable(session: Session, automation: Automation) -> Definition | None:
    """A version that cannot be read keeps nobody from saving a good one."""
    try:
        return current_definition(session, automation)
    except PermanentError:
        return None


def _active_definitions(session: Session, shop_id: int) -> dict[str, Definition]:
    """Of those that can be read."""
    rows = session.execute(
        select(Automation.key, AutomationVersion.definition)
        .join(
            AutomationVersion,
            (AutomationVersion.shop_id == Automation.shop_id)
            & (AutomationVersion.automation_id == Automation.automation_id)
            & (AutomationVersion.version == Automation.current_version),
        )
        .where(Automation.shop_id == shop_id, Automation.is_active)
    )
    known = {}
    for row in rows:
        try:
            known[row.key] = read_definition(row.definition)
        except PermanentError:
            continue
    return known
