"""Figures of a flow and each of its steps over a period, live from the ledger.

Enrolments count by when they entered, mails by when they were queued; tests are in none. Whoever
waits is counted as of now, at the step that comes next. Orders and revenue are of the marts, with
the rule they are credited by (performance.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, Jump, Wait, read_definition
from activation.automation.following import key_of
from activation.automation.performance import Figures, flow_performance
from core.errors import PermanentError
from core.models import Shop

AT_END: Final = ""
RULE: Final = "the last click by a person within {days} days before the order, net of refunds"

COUNT_ENROLMENTS = text("""
-- Returns how many entered a flow in a period, by what became of them. Changes nothing.
-- Index ix_enrollments__automation.
SELECT
    count(*) AS enrolled,
    count(*) FILTER (WHERE is_held_out) AS held_out,
    count(*) FILTER (WHERE state = 'too_late') AS too_late,
    count(*) FILTER (WHERE state = 'completed') AS completed,
    count(*) FILTER (WHERE state = 'exited') AS exited,
    count(*) FILTER (WHERE state = 'exited' AND exit_reason = 'ordered') AS reached_goal
FROM crm.enrollments
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND enrolled_at >= :since
    AND enrolled_at < :until
    AND NOT is_test
""")

COUNT_WAITING = text("""
-- Returns how many are in a flow now, by where they stand. Changes nothing. Index
-- ix_enrollments__due, which holds none that is over.
SELECT coalesce(step_version, version) AS version, step_position, count(*) AS waiting
FROM crm.enrollments
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND state = 'active'
    AND NOT is_test
GROUP BY 1, 2
""")

COUNT_MESSAGES = text("""
-- Returns a flow's mails queued in a period, by step, state and reason. Changes nothing.
-- Index ix_messages__automation.
SELECT
    step_key,
    state,
    skip_reason,
    count(*) AS mails,
    count(sent_at) AS sent,
    count(delivered_at) AS delivered,
    count(first_opened_at) AS opened,
    count(first_clicked_at) AS clicked
FROM crm.messages
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND queued_at >= :since
    AND queued_at < :until
    AND NOT is_test
GROUP BY step_key, state, skip_reason
""")

READ_FLOW = text("""
-- Returns the automation of a key, archived ones too. Changes nothing.
-- Index uq_automations__shop_id_key.
SELECT automation_id, current_version FROM crm.automations WHERE shop_id = :shop_id AND key = :key
""")

READ_VERSIONS = text("""
-- Returns these versions of one automation. Changes nothing. Primary key.
SELECT version, definition
FROM crm.automation_versions
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND version = ANY(CAST(:versions AS integer []))
""")


@dataclass
class StepFigures:
    """Mails by what became of them. `opened`: by a person or a machine; `clicked`: by a person, as
    far as we know. `in_flight`: queued or on their way. A skipped or failed one was not sent.
    """

    step_key: str
    type: str
    waiting: int = 0
    mails: int = 0
    in_flight: int = 0
    sent: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    bounced: int = 0
    complained: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Earned:
    """Orders credited to mails of the period's days, and what they brought, by `rule`."""

    orders: int
    revenue: Decimal
    currency: str
    as_of: datetime
    rule: str
    steps: Mapping[str, tuple[int, Decimal]]

    def as_json(self) -> dict[str, Any]:
        return {
            "orders": self.orders,
            "revenue": str(self.revenue),
            "currency": self.currency,
            "as_of": self.as_of.isoformat(),
            "rule": self.rule,
            "steps": {
                key: {"orders": orders, "revenue": str(revenue)}
                for key, (orders, revenue) in self.steps.items()
            },
        }


@dataclass(frozen=True)
class FlowFigures:
    """`waiting`: now. `reached_goal`: of those who left early, by ordering. Steps are those of the
    current version, then those of earlier ones that still have figures. `earned` None: the marts
    are not built, or know nothing of the flow in this period.
    """

    key: str
    since: datetime
    until: datetime
    enrolled: int
    held_out: int
    too_late: int
    completed: int
    exited: int
    reached_goal: int
    waiting: int
    steps: tuple[StepFigures, ...]
    total: StepFigures
    earned: Earned | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "earned": self.earned and self.earned.as_json(),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
        }


def figures_of(
    session: Session, shop_id: int, key: str, *, since: datetime, until: datetime
) -> FlowFigures:
    """Raises PermanentError when the shop has no such flow. Instants are business time."""
    flow = session.execute(READ_FLOW, {"shop_id": shop_id, "key": key}).one_or_none()
    if flow is None:
        raise PermanentError(f"This shop has no flow {key!r}.")
    this = {"shop_id": shop_id, "automation_id": flow.automation_id}
    span = this | {"since": since, "until": until}
    entered = session.execute(COUNT_ENROLMENTS, span).one()
    waiting = _waiting(session, this, flow.current_version)
    steps = _steps(session, this, flow.current_version)
    total = StepFigures("", "flow")
    for row in session.execute(COUNT_MESSAGES, span).all():
        step = steps.setdefault(row.step_key, StepFigures(row.step_key, "send_email"))
        for figures in (step, total):
            _add(figures, row)
    for step_key, count in waiting.items():
        if step_key != AT_END:
            steps.setdefault(step_key, StepFigures(step_key, "")).waiting = count
    total.waiting = sum(waiting.values())
    return FlowFigures(
        key=key,
        since=since,
        until=until,
        waiting=total.waiting,
        steps=tuple(steps.values()),
        total=total,
        earned=_earned(session, shop_id, flow.automation_id, since=since, until=until),
        **entered._mapping,  # noqa: SLF001 - SQLAlchemy's own name for a row as a mapping
    )


def _earned(
    session: Session, shop_id: int, automation_id: int, *, since: datetime, until: datetime
) -> Earned | None:
    """By the days of the shop's zone that the period touches."""
    shop = session.get_one(Shop, shop_id)
    zone = ZoneInfo(shop.time_zone)
    days = {"since": since.astimezone(zone).date(), "until": until.astimezone(zone).date()}
    for flow in flow_performance(session, shop_id, **days):
        if flow.automation_id == automation_id:
            return Earned(
                orders=flow.figures.orders,
                revenue=flow.figures.revenue,
                currency=flow.currency,
                as_of=flow.built_at,
                rule=RULE.format(days=shop.attribution_days),
                steps={key: _credited(each) for key, each in flow.steps.items()},
            )
    return None


def _credited(figures: Figures) -> tuple[int, Decimal]:
    return figures.orders, figures.revenue


def _add(figures: StepFigures, row: Any) -> None:
    figures.mails += row.mails
    figures.sent += row.sent
    figures.delivered += row.delivered
    figures.opened += row.opened
    figures.clicked += row.clicked
    match row.state:
        case "queued" | "frozen":
            figures.in_flight += row.mails
        case "skipped":
            reason = row.skip_reason or "unknown"
            figures.skipped[reason] = figures.skipped.get(reason, 0) + row.mails
        case "bounced" | "complained" | "failed" | "unknown":
            setattr(figures, row.state, getattr(figures, row.state) + row.mails)


def _steps(session: Session, this: Mapping[str, Any], version: int) -> dict[str, StepFigures]:
    """One for each step of the current version, in its order."""
    definition = _versions(session, this, [version]).get(version)
    if definition is None:
        return {}
    return {
        key: StepFigures(key, str(step.__struct_config__.tag))
        for key in definition.step_keys
        if (step := definition.step_of(key)) is not None
    }


def _waiting(session: Session, this: Mapping[str, Any], current: int) -> Counter[str]:
    """By the step that comes next."""
    rows = session.execute(COUNT_WAITING, this).all()
    versions = _versions(session, this, sorted({row.version for row in rows} | {current}))
    waiting: Counter[str] = Counter()
    for row in rows:
        waiting[_next_step(versions.get(row.version), row.step_position)] += row.waiting
    return waiting


def _next_step(definition: Definition | None, position: int) -> str:
    """Who has just begun is before the first step; a wait that is being waited for is passed."""
    if definition is None:
        return AT_END
    program = definition.program
    while position < len(program):
        instruction = program[position]
        if isinstance(instruction, Jump):
            position = instruction.to
        elif isinstance(instruction, Wait):
            position += 1
        else:
            return key_of(instruction) or AT_END
    return AT_END


def _versions(
    session: Session, this: Mapping[str, Any], numbers: list[int]
) -> dict[int, Definition]:
    """Those that can be read."""
    known = {}
    for row in session.execute(READ_VERSIONS, {**this, "versions": numbers}).all():
        try:
            known[row.version] = read_definition(row.definition)
        except PermanentError:
            continue
    return known
