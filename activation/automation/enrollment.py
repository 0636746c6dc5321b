"""Hop 4: moments become enrolments, once per customer, automation and entry key.

For customers whose orders changed at once; for everyone from time to time, because some moments
come by themselves (a silence, a cart left alone), or with a full run. Nothing is passed over that
is written down late: the look at everyone goes back further than to the last one, and who has
entered is seen by their enrolment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.entries import (
    FIRST,
    Entries,
    allowed,
    entries_since,
    silent_entries,
)
from activation.automation.presets import seed_presets
from activation.automation.readiness import ShopState, read_shop, why_blocked
from activation.automation.spreading import SPREAD, spread_parameters
from activation.automation.switching import LoadedAutomation, load_automations
from activation.automation.triggers import AbandonedCheckout, TagAdded
from activation.holds import lock_shop

__all__ = ["FIRST", "EnrolmentReport", "enrol", "window_start"]

# How much further back everyone is looked at: what is committed within it is never passed over.
OVERLAP: Final = timedelta(days=1)

ENROL = """
-- Returns how many entered and how many came too late to.
-- Changes crm.enrollments: a row per entry.
WITH entered AS (
    INSERT INTO crm.enrollments (
        shop_id, automation_id, version, customer_id, entry_key, moment_at, order_id, checkout_key,
        segment, state, is_held_out, step_position, due_at, run_id, enrolled_at, finished_at
    )
    SELECT
        :shop_id,
        :automation_id,
        :version,
        entries.customer_id,
        entries.entry_key,
        entries.moment_at,
        entries.order_id,
        entries.checkout_key,
        entries.segment,
        CASE WHEN entries.is_too_late THEN 'too_late' ELSE 'active' END,
        entries.is_held_out,
        0,
        CASE WHEN NOT entries.is_too_late THEN entries.moment_at END,
        :run_id,
        :now,
        CASE WHEN entries.is_too_late THEN CAST(:now AS timestamptz) END
    FROM ({entries}) AS entries
    ON CONFLICT (shop_id, automation_id, customer_id, entry_key) DO NOTHING
    RETURNING state
)

SELECT
    count(*) FILTER (WHERE state = 'active') AS enrolled,
    count(*) FILTER (WHERE state = 'too_late') AS too_late
FROM entered
"""

NOTE_EVALUATED = text("""
-- Changes crm.automations: up to when its trigger has been evaluated for everyone. Not where it has
-- been switched on anew meanwhile. Primary key.
UPDATE crm.automations
SET evaluated_at = :now, evaluated_version = :version, takes_silent = false
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND is_active
    AND switched_on_at = :switched_on_at
""")


@dataclass(frozen=True)
class EnrolmentReport:
    enrolled: int = 0
    too_late: int = 0

    def __add__(self, other: "EnrolmentReport") -> "EnrolmentReport":
        return EnrolmentReport(self.enrolled + other.enrolled, self.too_late + other.too_late)


@dataclass(frozen=True)
class _Evaluation:
    session: Session
    shop_id: int
    shop: ShopState
    now: datetime
    run_id: str | None


def enrol(
    session: Session,
    shop_id: int,
    *,
    customer_ids: Sequence[int] | None,
    now: datetime,
    run_id: str | None,
) -> EnrolmentReport:
    """Evaluate the triggers of all active automations for `customer_ids` (None: everyone).

    Stays that an order began are evaluated with its touch. Those of everyone are read after a full
    run only: a million take half a second.
    """
    report = EnrolmentReport()
    if customer_ids is None:
        # What a full run moves meanwhile is either seen here, or makes a look due after this one.
        lock_shop(session, shop_id)
        seed_presets(session, shop_id, now=now)
    shop = read_shop(session, shop_id)
    if shop.activated_at is None:
        return report
    evaluation = _Evaluation(session, shop_id, shop, now, run_id)
    for automation in load_automations(session, shop_id):
        if may_enrol(automation, shop):
            report += _evaluate(evaluation, automation, customer_ids)
    return report


def may_enrol(automation: LoadedAutomation, shop: ShopState) -> bool:
    """Whether its moments are looked at at all."""
    return (
        automation.is_active
        and automation.switched_on_at is not None
        and shop.activated_at is not None
        and why_blocked(automation.definition.trigger, shop.access_scopes) is None
    )


def window_start(automation: LoadedAutomation, shop: ShopState, *, now: datetime) -> datetime:
    """From when on the moments of everyone are looked at.

    What is older has been, or is too late for anything. Carts and tags that are written down late
    leave no trace but themselves: all that are not too late are looked at each time.
    """
    assert automation.switched_on_at is not None  # noqa: S101 - may_enrol has looked
    assert shop.activated_at is not None  # noqa: S101
    first = max(automation.switched_on_at, shop.activated_at)
    looked_at = automation.evaluated_at
    start = now - allowed(automation.definition)
    if looked_at is not None:
        if is_evaluated(automation) and not isinstance(
            automation.definition.trigger, AbandonedCheckout | TagAdded
        ):
            start = looked_at
        start = min(start, looked_at)
    return max(first, start - OVERLAP)


def _evaluate(
    evaluation: _Evaluation, automation: LoadedAutomation, customer_ids: Sequence[int] | None
) -> EnrolmentReport:
    now, shop = evaluation.now, evaluation.shop
    assert automation.switched_on_at is not None  # noqa: S101 - may_enrol has looked
    assert shop.activated_at is not None  # noqa: S101
    if customer_ids is None:
        since = window_start(automation, shop, now=now)
    else:
        since = max(automation.switched_on_at, shop.activated_at)
    entries = entries_since(
        automation,
        shop,
        shop_id=evaluation.shop_id,
        since=since,
        now=now,
        customer_ids=customer_ids,
        with_stays=customer_ids is not None or not is_evaluated(automation),
    )
    if entries is None:
        return EnrolmentReport()
    report = _insert(evaluation, automation, entries, ENROL)
    if customer_ids is None:
        if automation.takes_silent:
            report += _enrol_silent(evaluation, automation)
        _note_evaluated(evaluation, automation)
    return report


def is_evaluated(automation: LoadedAutomation) -> bool:
    """Whether everyone has been looked at since it was switched on, last edited, and the last full
    run that moved somebody (activation/scoring.py).
    """
    is_same = automation.evaluated_version == automation.version
    return automation.evaluated_at is not None and is_same


def _enrol_silent(evaluation: _Evaluation, automation: LoadedAutomation) -> EnrolmentReport:
    """Those who had been silent when it was switched on, over as many days as it takes."""
    assert automation.switched_on_at is not None  # noqa: S101
    silent = silent_entries(
        automation,
        evaluation.shop,
        shop_id=evaluation.shop_id,
        until=automation.switched_on_at,
        now=evaluation.now,
    )
    if silent is None:
        return EnrolmentReport()
    parameters = silent.parameters | spread_parameters(evaluation.shop.zone, evaluation.now)
    spread = Entries(SPREAD.replace("{entries}", silent.sql), parameters)
    return _insert(evaluation, automation, spread, ENROL)


def _insert(
    evaluation: _Evaluation, automation: LoadedAutomation, entries: Entries, around: str
) -> EnrolmentReport:
    given: dict[str, Any] = {
        "shop_id": evaluation.shop_id,
        "automation_id": automation.automation_id,
        "version": automation.version,
        "run_id": evaluation.run_id,
        "now": evaluation.now,
    }
    row = evaluation.session.execute(entries.statement(around), entries.parameters | given).one()
    return EnrolmentReport(enrolled=row.enrolled, too_late=row.too_late)


def _note_evaluated(evaluation: _Evaluation, automation: LoadedAutomation) -> None:
    evaluation.session.execute(
        NOTE_EVALUATED,
        {
            "shop_id": evaluation.shop_id,
            "automation_id": automation.automation_id,
            "version": automation.version,
            "switched_on_at": automation.switched_on_at,
            "now": evaluation.now,
        },
    )
