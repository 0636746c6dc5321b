"""Backtest: what a flow would have done in a past period, had it been switched on at its beginning.

Moments come from orders, memberships and checkouts (backtest_entries.py), what was known of each
customer from the ledgers (backtest_history.py), and the checks are those of sending, asked at past
instants (backtest_play.py). What history does not keep is said in `limits`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.backtest_entries import Entry, of_people, past_entries
from activation.automation.backtest_history import History, read_history
from activation.automation.backtest_play import SENT, Outcome, Setting, play
from activation.automation.definition import (
    AbandonedCheckout,
    Definition,
    EnteredSegment,
    Silence,
)
from activation.eligibility.quiet import zone_of
from activation.eligibility.rules import LONGEST_WINDOW, read_rules
from core.errors import PermanentError
from core.models import Shop
from core.models.enums import DeferReason, SkipReason

LONGEST: Final = timedelta(days=366)

OVERLAP = text("""
-- Returns how many of these customers entered each other flow in the period. Changes nothing.
-- Index ix_enrollments__customer.
SELECT automations.key, count(DISTINCT enrollments.customer_id) AS customers
FROM crm.enrollments
INNER JOIN crm.automations
    ON
        enrollments.shop_id = automations.shop_id
        AND enrollments.automation_id = automations.automation_id
WHERE
    enrollments.shop_id = :shop_id
    AND automations.key <> :key
    AND enrollments.customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND enrollments.enrolled_at >= :since
    AND enrollments.enrolled_at < :until
    AND NOT enrollments.is_test
GROUP BY automations.key
ORDER BY automations.key
""")

ALWAYS: Final = (
    "Pauses, holds of the data gate and old data are not kept: as if there had been none.",
    "Consent is as the ledger has it; where it has nothing, as it is now.",
    "Addresses, and who was merged into whom, are as they are now.",
    "The shop's limits and quiet hours are those of now; its settings are taken to be in order.",
    "Mails behind a branch are left out.",
)
OF_SEGMENTS: Final = "There are no segments before the first run, so nobody enters by one then."
OF_SILENCE: Final = (
    "Whoever had been silent for long enough before the period is left out, as at a switch-on "
    "without them."
)
OF_CARTS: Final = "Of a checkout only its last change is kept: what was left twice was left once."


@dataclass(frozen=True)
class Day:
    """One day in the shop's zone."""

    date: date
    entries: int
    mails: int


@dataclass(frozen=True)
class Backtest:
    """`skipped` and `waited` count mails, `overlap` customers, by what they name.

    `caps_hit`: mails that a limit held up or made too late. `orders` and `revenue`: orders that
    count now, placed within `follows_within` by those who would have been mailed; not that the
    mail would have brought them.
    """

    flow_key: str
    since: datetime
    until: datetime
    entries: int
    customers: int
    would_send: int
    held_out: int
    waiting: int
    skipped: Mapping[str, int]
    waited: Mapping[str, int]
    caps_hit: int
    quiet_hours_hit: int
    overlap: Mapping[str, int]
    orders: int
    revenue: Decimal
    currency: str
    follows_within: timedelta
    days: Sequence[Day]
    limits: Sequence[str]
    outcomes: Sequence[Outcome] = field(repr=False)
    entered: Sequence[Entry] = field(repr=False)


def backtest(
    session: Session,
    shop_id: int,
    key: str,
    definition: Definition,
    *,
    since: datetime,
    until: datetime,
    secret_key: SecretStr,
    follows_within: timedelta | None = None,
) -> Backtest:
    """Of a stored or an unsaved definition of the flow `key`. Nothing is written.

    `follows_within`: of orders after a mail; the shop's attribution window where it is not given.

    Raises PermanentError for a period that is none or longer than a year, and for a trigger that
    history keeps nothing of.
    """
    if not timedelta() < until - since <= LONGEST:
        raise PermanentError("A backtest is about a period of at most 366 days.")
    shop = session.get_one(Shop, shop_id)
    zone = zone_of(shop.time_zone)
    window = follows_within or timedelta(days=shop.attribution_days)
    entries = past_entries(
        session, shop_id, key, definition, zone=zone.key, since=since, until=until
    )
    people = of_people(entries)
    history = read_history(
        session,
        shop_id,
        key,
        people,
        secret_key=secret_key,
        since=since - LONGEST_WINDOW,
        until=until + window,
    )
    setting = Setting(
        domain=shop.domain,
        key=key,
        definition=definition,
        rules=read_rules(session, shop_id),
        zone=zone,
        zone_name=zone.key,
        until=until,
    )
    entries = [each for each in entries if history.existed(each.customer_id, each.moment_at)]
    outcomes = play(setting, history, entries)
    asked = {"shop_id": shop_id, "key": key, "customer_ids": people}
    rows = session.execute(OVERLAP, {**asked, "since": since, "until": until})
    orders = _followed(history, outcomes, window)
    by_result = Counter(each.result for each in outcomes)
    waited = Counter(reason for each in outcomes for reason in each.waited_for)
    return Backtest(
        flow_key=key,
        since=since,
        until=until,
        entries=len(entries),
        customers=len(people),
        would_send=by_result[SENT],
        held_out=by_result[SkipReason.HOLDOUT],
        waiting=by_result["open"],
        skipped={
            reason.value: by_result[reason.value]
            for reason in SkipReason
            if by_result[reason.value] and reason is not SkipReason.HOLDOUT
        },
        waited=dict(waited),
        caps_hit=waited[DeferReason.FREQUENCY_CAP],
        quiet_hours_hit=waited[DeferReason.QUIET_HOURS],
        overlap={row.key: row.customers for row in rows},
        orders=len(orders),
        revenue=sum(orders.values(), Decimal()),
        currency=shop.currency,
        follows_within=window,
        days=_days(setting, entries, outcomes, since),
        limits=_limits(definition),
        outcomes=outcomes,
        entered=entries,
    )


def _followed(
    history: History, outcomes: Sequence[Outcome], window: timedelta
) -> dict[int, Decimal]:
    """Each order once, whichever mails came before it."""
    found: dict[int, Decimal] = {}
    for each in outcomes:
        if each.result == SENT:
            found.update(history.followed(each.entry.customer_id, each.at, window))
    return found


def _days(
    setting: Setting, entries: Sequence[Entry], outcomes: Sequence[Outcome], since: datetime
) -> list[Day]:
    """Every day of the period, those without anything too."""
    entered = Counter(each.moment_at.astimezone(setting.zone).date() for each in entries)
    mailed: dict[date, int] = defaultdict(int)
    for each in outcomes:
        if each.result == SENT:
            mailed[each.at.astimezone(setting.zone).date()] += 1
    day = since.astimezone(setting.zone).date()
    last = (setting.until - timedelta(microseconds=1)).astimezone(setting.zone).date()
    days = []
    while day <= last:
        days.append(Day(day, entered[day], mailed[day]))
        day += timedelta(days=1)
    return days


def _limits(definition: Definition) -> list[str]:
    trigger, limits = definition.trigger, list(ALWAYS)
    if isinstance(trigger, EnteredSegment) or (isinstance(trigger, Silence) and trigger.segments):
        limits.append(OF_SEGMENTS)
    if isinstance(trigger, Silence):
        limits.append(OF_SILENCE)
    if isinstance(trigger, AbandonedCheckout):
        limits.append(OF_CARTS)
    return limits


def backtest_json(done: Backtest, *, samples: int = 20) -> dict[str, Any]:
    """Plain values; of the mails the first few."""
    return {
        "flow": done.flow_key,
        "since": done.since.isoformat(),
        "until": done.until.isoformat(),
        "entries": done.entries,
        "customers": done.customers,
        "would_send": done.would_send,
        "held_out": done.held_out,
        "waiting": done.waiting,
        "skipped": dict(done.skipped),
        "waited": dict(done.waited),
        "caps_hit": done.caps_hit,
        "quiet_hours_hit": done.quiet_hours_hit,
        "overlap": dict(done.overlap),
        "orders_followed": done.orders,
        "revenue_followed": str(done.revenue),
        "currency": done.currency,
        "follows_within_days": done.follows_within.days,
        "days": [
            {"date": each.date.isoformat(), "entries": each.entries, "mails": each.mails}
            for each in done.days
        ],
        "samples": [
            {
                "customer_id": each.entry.customer_id,
                "moment_at": each.entry.moment_at.isoformat(),
                "step": each.step_key,
                "result": each.result,
                "at": each.at.isoformat(),
            }
            for each in done.outcomes[:samples]
        ],
        "limits": list(done.limits),
    }
