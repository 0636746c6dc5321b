"""What flows did and earned, from the marts: closed days, as of their last build.

The marts are made by dbt after each full run (dbt_project/models/marts/attribution; docs/
attribution.md says by which rule). What happened since is not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

ARE_BUILT = text("""
-- Returns whether the marts are there: not before the first full run of an installation.
SELECT to_regclass('marts.flow_performance') IS NOT NULL
    AND to_regclass('marts.step_performance') IS NOT NULL
    AND to_regclass('marts.flow_lift') IS NOT NULL
""")

_FIGURES: Final = """
    sum(owed_count) AS owed,
    sum(held_out_count) AS held_out,
    sum(skipped_count) AS skipped,
    sum(failed_count) AS failed,
    sum(waiting_count) AS waiting,
    sum(sent_count) AS sent,
    sum(delivered_count) AS delivered,
    sum(clicked_count) AS clicked,
    sum(order_count) AS orders,
    sum(revenue) AS revenue
"""

FLOWS = text(f"""
-- Returns the sums of a shop's flows over days, by flow. A row per flow and day is read.
SELECT
    automation_id,
    min(automation_key) AS automation_key,
    min(currency) AS currency,
    min(built_at) AS built_at,
    sum(enrolled_count) AS enrolled,
    sum(enrolled_held_out_count) AS enrolled_held_out,
    {_FIGURES}
FROM marts.flow_performance
WHERE
    shop_id = :shop_id
    AND activity_date >= coalesce(CAST(:since AS date), '-infinity')
    AND activity_date <= coalesce(CAST(:until AS date), 'infinity')
GROUP BY automation_id
ORDER BY automation_id
""")

STEPS = text(f"""
-- Returns the sums of a shop's steps over days, by flow and step. A row per step and day is read.
SELECT
    automation_id,
    step_key,
    {_FIGURES}
FROM marts.step_performance
WHERE
    shop_id = :shop_id
    AND message_date >= coalesce(CAST(:since AS date), '-infinity')
    AND message_date <= coalesce(CAST(:until AS date), 'infinity')
GROUP BY automation_id, step_key
ORDER BY automation_id, step_key
""")

SKIPS = text("""
-- Returns why mails of a shop's steps were skipped over days. A row per step and day is read.
SELECT
    performance.automation_id,
    performance.step_key,
    reason.key AS skip_reason,
    sum(CAST(reason.value AS bigint)) AS skipped
FROM marts.step_performance AS performance
CROSS JOIN LATERAL jsonb_each_text(performance.skipped_by_reason) AS reason
WHERE
    performance.shop_id = :shop_id
    AND performance.message_date >= coalesce(CAST(:since AS date), '-infinity')
    AND performance.message_date <= coalesce(CAST(:until AS date), 'infinity')
GROUP BY performance.automation_id, performance.step_key, reason.key
ORDER BY performance.automation_id, performance.step_key, reason.key
""")

LIFTS = text("""
-- Returns what a shop's flows earned beyond people held out, a row per flow and metric.
SELECT
    automation_id,
    metric,
    window_days,
    treated_people,
    held_out_people,
    treated_per_person,
    held_out_per_person,
    difference,
    difference_low,
    difference_high,
    relative_lift,
    relative_lift_low,
    relative_lift_high,
    attributed_total,
    incremental_total,
    incremental_total_low,
    incremental_total_high,
    verdict
FROM marts.flow_lift
WHERE shop_id = :shop_id
ORDER BY automation_id, metric
""")


@dataclass(frozen=True)
class Figures:
    """Of mails that were owed in the days asked for. Revenue is in the shop's currency, net."""

    owed: int
    held_out: int
    skipped: int
    failed: int
    waiting: int
    sent: int
    delivered: int
    clicked: int
    orders: int
    revenue: Decimal
    skipped_by_reason: Mapping[str, int]

    @property
    def revenue_per_recipient(self) -> Decimal | None:
        return self.revenue / self.sent if self.sent else None


@dataclass(frozen=True)
class Lift:
    """One metric, per person of either arm; the columns of marts.flow_lift. None: not known."""

    metric: str
    window_days: int
    treated_people: int
    held_out_people: int
    treated_per_person: Decimal
    held_out_per_person: Decimal | None
    difference: Decimal | None
    difference_low: Decimal | None
    difference_high: Decimal | None
    relative_lift: Decimal | None
    relative_lift_low: Decimal | None
    relative_lift_high: Decimal | None
    attributed_total: Decimal
    incremental_total: Decimal | None
    incremental_total_low: Decimal | None
    incremental_total_high: Decimal | None
    verdict: str


@dataclass(frozen=True)
class FlowPerformance:
    """One flow: who entered, its mails as a whole and by step, and its lift over all time."""

    automation_id: int
    automation_key: str
    currency: str
    built_at: datetime
    enrolled: int
    enrolled_held_out: int
    figures: Figures
    steps: Mapping[str, Figures]
    lift: tuple[Lift, ...]


def flow_performance(
    session: Session, shop_id: int, *, since: date | None = None, until: date | None = None
) -> tuple[FlowPerformance, ...]:
    """Flows of a shop with something in these days (of its zone, both included), by their number.

    Empty before the marts are first built. A flow in which nothing happened is left out.
    """
    if not session.scalar(ARE_BUILT):
        return ()
    asked = {"shop_id": shop_id, "since": since, "until": until}
    reasons: dict[tuple[int, str], dict[str, int]] = {}
    for row in session.execute(SKIPS, asked):
        by_reason = reasons.setdefault((row.automation_id, row.step_key), {})
        by_reason[row.skip_reason] = int(row.skipped)
    steps: dict[int, dict[str, Figures]] = {}
    for row in session.execute(STEPS, asked):
        of_flow = steps.setdefault(row.automation_id, {})
        of_flow[row.step_key] = _figures(row, reasons.get((row.automation_id, row.step_key), {}))
    lifts: dict[int, list[Lift]] = {}
    for found in session.execute(LIFTS, {"shop_id": shop_id}).mappings():
        values = dict(found)
        lifts.setdefault(values.pop("automation_id"), []).append(Lift(**values))
    return tuple(
        FlowPerformance(
            row.automation_id,
            row.automation_key,
            row.currency,
            row.built_at,
            int(row.enrolled),
            int(row.enrolled_held_out),
            _figures(row, _together(steps.get(row.automation_id, {}))),
            steps.get(row.automation_id, {}),
            tuple(lifts.get(row.automation_id, ())),
        )
        for row in session.execute(FLOWS, asked)
    )


def _figures(row: Any, skipped_by_reason: Mapping[str, int]) -> Figures:
    return Figures(
        owed=int(row.owed),
        held_out=int(row.held_out),
        skipped=int(row.skipped),
        failed=int(row.failed),
        waiting=int(row.waiting),
        sent=int(row.sent),
        delivered=int(row.delivered),
        clicked=int(row.clicked),
        orders=int(row.orders),
        revenue=row.revenue,
        skipped_by_reason=skipped_by_reason,
    )


def _together(steps: Mapping[str, Figures]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for figures in steps.values():
        for reason, count in figures.skipped_by_reason.items():
            summed[reason] = summed.get(reason, 0) + count
    return summed
