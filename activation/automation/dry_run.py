"""Dry run: who would be mailed now, and who would not, and why. Nothing is written.

From here on the caller's transaction is read-only: Postgres itself refuses a write.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, Silence
from activation.automation.dry_run_reading import READ_DUE, READ_QUEUED, READ_SAMPLES
from activation.automation.entries import Entry, entries_since, read_entries, silent_entries
from activation.automation.readiness import ShopState, read_shop, why_blocked
from activation.automation.spreading import LEAST_A_DAY, PERCENT_A_DAY
from activation.automation.switching import LoadedAutomation, load_automations
from activation.eligibility import Decision, Defer, Send, Skip, Stage, Subject, decide, load_facts
from activation.eligibility.quiet import zone_of
from activation.eligibility.rules import Rules, read_rules
from activation.holds import read_hold
from core.errors import PermanentError
from core.models import Shop
from core.models.enums import SkipReason

CHUNK: Final = 5000
SAMPLES: Final = 10


@dataclass(frozen=True)
class Person:
    """One of a reason's samples."""

    customer_id: int
    email: str | None


@dataclass(frozen=True)
class Backlog:
    """Those whose silence is long enough before the flow is switched on, and when they would
    enter: the most recent silence first, so many a day.
    """

    customers: int
    per_day: int
    days: Sequence[tuple[date, int]]


@dataclass(frozen=True)
class DryRun:
    """`entering` would enter at the next evaluation. Of them, and of those already in the flow with
    a step or a mail due, `mailed`, `skipped` and `deferred` say what becomes of the mail. `later`:
    their first mail is due after a wait.
    """

    flow_key: str
    asked_at: datetime
    is_on: bool
    counts_from: datetime
    entering: int
    too_late: int
    enrolled_and_due: int
    later: int
    mailed: int
    skipped: Mapping[str, int]
    deferred: Mapping[str, int]
    backlog: Backlog | None
    blocked: Sequence[str]
    samples: Mapping[str, Sequence[Person]]


@dataclass(frozen=True)
class _Asked:
    """One mail to decide on."""

    subject: Subject
    is_held_out: bool


def dry_run(
    session: Session,
    shop_id: int,
    key: str,
    *,
    now: datetime,
    secret_key: SecretStr,
    definition: Definition | None = None,
) -> DryRun:
    """Of the flow as it is, or with an unsaved `definition`; one that is off as if it were switched
    on now. Raises PermanentError when the shop has no such flow.
    """
    session.execute(text("SET TRANSACTION READ ONLY"))
    stored = _flow(session, shop_id, key)
    wanted = definition or stored.definition
    flow = replace(stored, definition=wanted)
    shop = read_shop(session, shop_id)
    is_on = flow.is_active and flow.switched_on_at is not None
    counts_from = flow.switched_on_at if is_on and flow.switched_on_at else now
    blocked = _blocked(session, shop_id, wanted)
    found = []
    if not blocked and shop.activated_at is not None:
        since = max(counts_from, shop.activated_at)
        found = _entering(session, shop_id, flow, shop, since=since, now=now)
    zone = zone_of(shop.zone)
    inside = [each for each in found if not each.is_too_late]
    due = [each for each in inside if wanted.first_due(each.moment_at, zone) <= now]
    asked = [_of_entry(each, flow, zone, place) for place, each in enumerate(due, start=1)]
    enrolled = _enrolled(session, shop_id, flow, wanted, now=now) if is_on else []
    decisions = _decide(
        session,
        shop_id,
        [*asked, *enrolled],
        _changed(wanted, read_rules(session, shop_id), shop.zone),
        secret_key=secret_key,
        now=now,
    )
    by_result: dict[str, list[int]] = defaultdict(list)
    for each, decision in decisions:
        if each.subject.customer_id is not None:
            by_result[_result(decision)].append(each.subject.customer_id)
    counts = Counter({result: len(people) for result, people in by_result.items()})
    return DryRun(
        flow_key=key,
        asked_at=now,
        is_on=is_on,
        counts_from=counts_from,
        entering=len(inside),
        too_late=len(found) - len(inside),
        enrolled_and_due=len(enrolled),
        later=len(inside) - len(due),
        mailed=counts["mailed"],
        skipped=_named(counts, "skipped:"),
        deferred=_named(counts, "deferred:"),
        backlog=None if is_on or blocked else _backlog(session, shop_id, flow, shop, now=now),
        blocked=blocked,
        samples=_samples(session, shop_id, by_result),
    )


def _flow(session: Session, shop_id: int, key: str) -> LoadedAutomation:
    for each in load_automations(session, shop_id):
        if each.key == key:
            return each
    raise PermanentError(f"This shop has no automation {key!r}.")


def _blocked(session: Session, shop_id: int, definition: Definition) -> list[str]:
    """Why nobody enters now, in codes as activation/explain has them."""
    shop = session.get_one(Shop, shop_id)
    blocked = []
    if shop.first_sync_completed_at is None or shop.baseline_at is None:
        blocked.append("shop_is_ready")
    if shop.uninstalled_at is not None:
        blocked.append("shop_is_connected")
    hold = read_hold(session, shop_id)
    if hold is not None and hold.doubts_orders:
        blocked.append("data_is_accepted")
    if why_blocked(definition.trigger, shop.access_scopes) is not None:
        blocked.append("orders_are_known")
    return blocked


def _entering(
    session: Session,
    shop_id: int,
    flow: LoadedAutomation,
    shop: ShopState,
    *,
    since: datetime,
    now: datetime,
) -> list[Entry]:
    """Moments that have been and that nobody has entered for: as enrolment reads them."""
    entries = entries_since(flow, shop, shop_id=shop_id, since=since, now=now)
    return [] if entries is None else read_entries(session, entries)


def _of_entry(entry: Entry, flow: LoadedAutomation, zone: ZoneInfo, place: int) -> _Asked:
    definition = flow.definition
    due = definition.first_due(entry.moment_at, zone)
    subject = Subject(
        key=-place,  # of nothing that exists
        customer_id=entry.customer_id,
        automation_id=flow.automation_id,
        order_id=None if isinstance(definition.trigger, Silence) else entry.order_id,
        expires_at=due + definition.late_after,
        due_at=due,
        priority=definition.rules.priority,
    )
    return _Asked(subject, entry.is_held_out)


def _enrolled(
    session: Session, shop_id: int, flow: LoadedAutomation, definition: Definition, *, now: datetime
) -> list[_Asked]:
    """Who is in the flow with a step due, and mails that wait and may leave now."""
    asked = {"shop_id": shop_id, "automation_id": flow.automation_id, "now": now}
    due = [
        _Asked(
            Subject(
                key=-CHUNK * CHUNK - row.enrollment_id,
                customer_id=row.customer_id,
                automation_id=flow.automation_id,
                order_id=row.order_id,
                expires_at=row.due_at + definition.late_after,
                due_at=row.due_at,
                priority=definition.rules.priority,
                enrollment_id=row.enrollment_id,
            ),
            row.is_held_out,
        )
        for row in session.execute(READ_DUE, asked)
    ]
    queued = [
        _Asked(
            Subject(
                key=row.message_id,
                customer_id=row.customer_id,
                automation_id=flow.automation_id,
                order_id=row.order_id,
                expires_at=row.expires_at,
                due_at=row.due_at,
                priority=row.priority,
                enrollment_id=row.enrollment_id,
            ),
            False,
        )
        for row in session.execute(READ_QUEUED, asked)
    ]
    return due + queued


def _decide(
    session: Session,
    shop_id: int,
    asked: Sequence[_Asked],
    changed: Mapping[str, Any],
    *,
    secret_key: SecretStr,
    now: datetime,
) -> list[tuple[_Asked, Decision]]:
    """By the checks of sending, with what is `changed` in what they look at."""
    decided: list[tuple[_Asked, Decision]] = []
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        facts = load_facts(
            session,
            shop_id,
            [each.subject for each in part],
            secret_key=secret_key,
            now=now,
            stage=Stage.FREEZE,
        )
        for each in part:
            decision: Decision = Skip(SkipReason.HOLDOUT)
            if not each.is_held_out:
                decision = decide(replace(facts[each.subject.key], **changed), now=now)
            decided.append((each, decision))
    return decided


def _changed(definition: Definition, rules: Rules, shop_zone: str) -> dict[str, Any]:
    """The rules of this definition, as if its flow were on."""
    flow = definition.rules
    return {
        "automation_is_active": True,
        "caps": rules.caps if flow.is_capped else (),
        "quiet_hours": rules.quiet_hours(shop_zone) if flow.keeps_quiet_hours else None,
    }


def _result(decision: Decision) -> str:
    match decision:
        case Send():
            return "mailed"
        case Skip(reason=reason):
            return f"skipped:{reason.value}"
        case Defer(reason=reason):
            return f"deferred:{reason.value}"


def _named(found: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {
        result.removeprefix(prefix): count
        for result, count in sorted(found.items())
        if result.startswith(prefix)
    }


def _backlog(
    session: Session, shop_id: int, flow: LoadedAutomation, shop: ShopState, *, now: datetime
) -> Backlog | None:
    """Of a silence: those who are silent already."""
    entries = silent_entries(flow, shop, shop_id=shop_id, until=now, now=now)
    if entries is None:
        return None
    count = entries.statement("SELECT count(*) FROM ({entries}) AS entries")
    customers: int = session.execute(count, entries.parameters).scalar_one()
    per_day = max(LEAST_A_DAY, -(-customers * PERCENT_A_DAY // 100))
    today = now.astimezone(zone_of(shop.zone)).date()
    days = [
        (today + timedelta(days=place), min(per_day, customers - place * per_day))
        for place in range(ceil(customers / per_day))
    ]
    return Backlog(customers, per_day, days)


def _samples(
    session: Session, shop_id: int, people: Mapping[str, Sequence[int]]
) -> dict[str, list[Person]]:
    """The first few of each result."""
    chosen = {result: list(found[:SAMPLES]) for result, found in people.items()}
    wanted = sorted({number for found in chosen.values() for number in found})
    rows = session.execute(READ_SAMPLES, {"shop_id": shop_id, "customer_ids": wanted})
    emails = {row.customer_id: row.email for row in rows}
    return {
        result: [Person(number, emails.get(number)) for number in found]
        for result, found in chosen.items()
    }


def dry_run_json(done: DryRun) -> dict[str, Any]:
    """Plain values."""
    backlog = done.backlog
    return {
        "flow": done.flow_key,
        "asked_at": done.asked_at.isoformat(),
        "is_on": done.is_on,
        "counts_from": done.counts_from.isoformat(),
        "blocked": list(done.blocked),
        "entering": done.entering,
        "too_late": done.too_late,
        "enrolled_and_due": done.enrolled_and_due,
        "later": done.later,
        "mailed": done.mailed,
        "skipped": dict(done.skipped),
        "deferred": dict(done.deferred),
        "backlog": backlog
        and {
            "customers": backlog.customers,
            "per_day": backlog.per_day,
            "days": [{"date": day.isoformat(), "customers": many} for day, many in backlog.days],
        },
        "samples": {
            result: [{"customer_id": each.customer_id, "email": each.email} for each in people]
            for result, people in done.samples.items()
        },
    }
