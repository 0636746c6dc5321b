"""How often and when a shop's automations may write to one address: its settings, or the defaults.

Sending reads them with everything else that decides (facts.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.eligibility.caps import Cap
from activation.eligibility.quiet import QuietHours, is_zone
from core.errors import PermanentError
from core.models import AuditEntry, SendRules, Shop
from core.models.enums import AuditAction

MOST_MAILS: Final = 1000
LONGEST_WINDOW: Final = timedelta(days=90)  # how far back sending looks at most


@dataclass(frozen=True)
class Rules:
    """Of one shop. A cap without `mails` and quiet hours without times are switched off.

    `time_zone` None: the shop's own.
    """

    short_cap_mails: int | None = 1
    short_cap_hours: int = 20
    long_cap_mails: int | None = 4
    long_cap_days: int = 7
    quiet_from: time | None = time(21)
    quiet_until: time | None = time(8)
    time_zone: str | None = None

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Those that are on."""
        both = (
            (self.short_cap_mails, timedelta(hours=self.short_cap_hours)),
            (self.long_cap_mails, timedelta(days=self.long_cap_days)),
        )
        return tuple(Cap(mails, window) for mails, window in both if mails is not None)

    def quiet_hours(self, shop_zone: str) -> QuietHours | None:
        if self.quiet_from is None or self.quiet_until is None:
            return None
        return QuietHours(self.quiet_from, self.quiet_until, self.time_zone or shop_zone)


DEFAULTS: Final = Rules()

WAKE_WAITING = text("""
-- Changes crm.messages: what waits for a cap or for the morning is due now, to be looked at anew.
-- Index ix_messages__queue.
UPDATE crm.messages
SET due_at = :now
WHERE
    shop_id = :shop_id
    AND state = 'queued'
    AND due_at > :now
    AND defer_reason IN ('frequency_cap', 'quiet_hours')
""")
FIELDS: Final = tuple(field.name for field in fields(Rules))


def read_rules(session: Session, shop_id: int) -> Rules:
    statement = select(*(getattr(SendRules, name) for name in FIELDS))
    row = session.execute(statement.where(SendRules.shop_id == shop_id)).mappings().one_or_none()
    return DEFAULTS if row is None else Rules(**row)


def change_rules(
    session: Session,
    shop_id: int,
    changes: Mapping[str, Any],
    *,
    now: datetime,
    user_id: int | None = None,
) -> Rules:
    """Change some of a shop's rules, in the caller's transaction; returns all of them.

    They hold from the next mail on, and what waits by the old ones is looked at again. Who changed
    what is kept. `now` is business time. Raises PermanentError when the result makes no sense, with
    all that is wrong.
    """
    session.execute(select(Shop.shop_id).where(Shop.shop_id == shop_id).with_for_update()).one()
    before = read_rules(session, shop_id)
    rules = replace(before, **changes)
    problems = problems_of(rules)
    if problems:
        raise PermanentError(" ".join(problems))
    if rules == before:
        return rules
    values = {name: getattr(rules, name) for name in FIELDS}
    session.execute(
        insert(SendRules)
        .values(shop_id=shop_id, **values)
        .on_conflict_do_update(index_elements=["shop_id"], set_=values)
    )
    session.execute(WAKE_WAITING, {"shop_id": shop_id, "now": now})
    session.add(
        AuditEntry(
            shop_id=shop_id,
            acted_at=now,
            user_id=user_id,
            action=AuditAction.CHANGE_LIMITS,
            about=None,
            reason="",
            figures={"before": _plain(before), "after": _plain(rules)},
        )
    )
    session.flush()
    return rules


def _plain(rules: Rules) -> dict[str, int | str | None]:
    """As JSON has it."""
    values = asdict(rules)
    return {
        name: value.isoformat() if isinstance(value, time) else value
        for name, value in values.items()
    }


def problems_of(rules: Rules) -> list[str]:
    """What is wrong, one sentence each."""
    problems = [
        *_cap_problems("short", rules.short_cap_mails, timedelta(hours=rules.short_cap_hours)),
        *_cap_problems("long", rules.long_cap_mails, timedelta(days=rules.long_cap_days)),
    ]
    if not problems and rules.short_cap_mails and rules.long_cap_mails:
        short, long = rules.caps
        if short.window >= long.window:
            problems.append("The short cap must look at fewer hours than the long cap does.")
        elif short.mails > long.mails:
            problems.append("The short cap allows more mails than the long cap: it has no effect.")
    return problems + _quiet_problems(rules)


def _cap_problems(name: str, mails: int | None, window: timedelta) -> list[str]:
    problems = []
    if mails is not None and not 1 <= mails <= MOST_MAILS:
        problems.append(
            f"The {name} cap must allow between 1 and {MOST_MAILS} mails, not {mails}; "
            "to send without it, switch it off."
        )
    if not timedelta(hours=1) <= window <= LONGEST_WINDOW:
        problems.append(
            f"The {name} cap must look at between 1 hour and {LONGEST_WINDOW.days} days."
        )
    return problems


def _quiet_problems(rules: Rules) -> list[str]:
    problems = []
    if (rules.quiet_from is None) != (rules.quiet_until is None):
        problems.append("Quiet hours need both a beginning and an end.")
    elif rules.quiet_from is not None and rules.quiet_from == rules.quiet_until:
        problems.append(
            "Quiet hours cannot begin and end at the same time; to have none, switch them off."
        )
    if any(at is not None and at.tzinfo for at in (rules.quiet_from, rules.quiet_until)):
        problems.append("Quiet hours are wall-clock times, without an offset.")
    if rules.time_zone is not None and not is_zone(rules.time_zone):
        problems.append(
            f"There is no time zone {rules.time_zone!r}; zones have names such as Europe/Berlin."
        )
    return problems
