"""Is there anybody to enrol, or when will there be? Look-ups for whoever starts activation runs.

What comes with an order is told by its touch (work.py's orders_due); here is what comes by itself,
with a full run, or by a switch. `moments_due` true means: evaluate everyone
(`enrol(customer_ids=None)`), after which it is false.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.enrollment import is_evaluated, may_enrol
from activation.automation.entries import Entries, allowed, entries_since
from activation.automation.readiness import ShopState, read_shop
from activation.automation.switching import LoadedAutomation, load_automations
from activation.automation.triggers import AbandonedCheckout, EnteredSegment, Silence, TagAdded
from activation.holds import read_hold
from core.errors import PermanentError

SHOPS_WITH_FLOWS = text("""
-- Returns the shops that have a flow on and may be worked for (of one shop, or all), with their
-- clocks' offsets. Changes nothing. Reads shops and automations, which are few.
SELECT shops.shop_id, shops.clock_offset
FROM crm.shops
WHERE
    shops.uninstalled_at IS NULL
    AND (CAST(:shop_id AS integer) IS NULL OR shops.shop_id = :shop_id)
    AND shops.baseline_at IS NOT NULL
    AND shops.first_sync_completed_at IS NOT NULL
    AND EXISTS (
        SELECT 1
        FROM crm.automations
        WHERE automations.shop_id = shops.shop_id AND automations.is_active
    )
ORDER BY shops.shop_id
""")

NEXT_CART = text("""
-- Returns when the cart left longest ago, of those whose time has not come, was. Changes nothing.
-- Index ix_checkouts__updated.
SELECT min(checkouts.updated_at)
FROM raw_shopify.checkouts
WHERE
    checkouts.shop_id = :shop_id
    AND checkouts.updated_at > :since
    AND checkouts.updated_at <= :until
    AND checkouts.completed_at IS NULL
    AND checkouts.deleted_at IS NULL
""")

# Written down later than they happened, they are looked for this far back.
LATE_BY: Final = timedelta(minutes=10)
_BY_SEGMENT: Final = (EnteredSegment, Silence)


@dataclass(frozen=True)
class _Flow:
    shop_id: int
    shop: ShopState
    automation: LoadedAutomation
    now: datetime


def moments_due(session: Session, *, now: datetime, shop_id: int | None = None) -> bool:
    """Whether anybody is to be enrolled whom no order tells of, in one shop or in any. `now` is the
    base clock's.
    """
    return any(_is_due(session, flow) for flow in _flows(session, now=now, shop_id=shop_id))


def segments_due(session: Session, *, now: datetime) -> bool:
    """Whether a full run has changed segments that a flow waits for."""
    return any(
        not is_evaluated(flow.automation)
        for flow in _flows(session, now=now)
        if isinstance(flow.automation.definition.trigger, _BY_SEGMENT)
    )


def seconds_until_moment(session: Session, *, now: datetime, horizon: timedelta) -> float | None:
    """Until the next that comes by itself within `horizon` (0: already); None: there is none.

    A cart may be bought or go on until then: whoever wakes looks again.
    """
    waits = []
    for flow in _flows(session, now=now):
        if _is_due(session, flow):
            return 0.0
        at = _next(session, flow, horizon)
        if at is not None:
            waits.append((at - flow.now).total_seconds())
    return max(0.0, min(waits)) if waits else None


def _flows(session: Session, *, now: datetime, shop_id: int | None = None) -> Iterator[_Flow]:
    """Those that may enrol somebody, at their shops' own time."""
    for row in session.execute(SHOPS_WITH_FLOWS, {"shop_id": shop_id}).all():
        held = read_hold(session, row.shop_id)
        if held is not None and held.doubts_orders:
            continue
        shop = read_shop(session, row.shop_id)
        try:
            automations = load_automations(session, row.shop_id)
        except PermanentError:
            # Whoever evaluates that shop tells of it; the others are looked at all the same.
            continue
        for automation in automations:
            if may_enrol(automation, shop):
                yield _Flow(row.shop_id, shop, automation, now + row.clock_offset)


def _is_due(session: Session, flow: _Flow) -> bool:
    return not is_evaluated(flow.automation) or _has_entries(session, flow)


def _has_entries(session: Session, flow: _Flow) -> bool:
    """Of what comes by itself: orders are told of by touches, segments by runs."""
    trigger = flow.automation.definition.trigger
    if not isinstance(trigger, AbandonedCheckout | Silence | TagAdded):
        return False
    entries = _entries(flow)
    return entries is not None and bool(
        session.execute(
            entries.statement("SELECT EXISTS (SELECT 1 FROM ({entries}) AS entries)"),
            entries.parameters,
        ).scalar_one()
    )


def _entries(flow: _Flow) -> Entries | None:
    automation, shop = flow.automation, flow.shop
    assert automation.switched_on_at is not None  # noqa: S101 - may_enrol has looked
    assert shop.activated_at is not None  # noqa: S101
    looked_at = automation.evaluated_at or automation.switched_on_at
    back = LATE_BY
    if isinstance(automation.definition.trigger, AbandonedCheckout):
        back += automation.definition.first_delay
    elif isinstance(automation.definition.trigger, TagAdded):
        back += allowed(automation.definition)  # a sync may read of it a day later
    since = max(automation.switched_on_at, shop.activated_at, looked_at - back)
    return entries_since(
        automation,
        shop,
        shop_id=flow.shop_id,
        since=since,
        now=flow.now,
        with_stays=False,
    )


def _next(session: Session, flow: _Flow, horizon: timedelta) -> datetime | None:
    """Carts: silences come day by day and nobody waits for their second."""
    definition = flow.automation.definition
    if not isinstance(definition.trigger, AbandonedCheckout):
        return None
    since = flow.now - definition.first_delay
    left: datetime | None = session.execute(
        NEXT_CART, {"shop_id": flow.shop_id, "since": since, "until": since + horizon}
    ).scalar_one()
    return None if left is None else left + definition.first_delay
