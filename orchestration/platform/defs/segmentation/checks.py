"""Claims about what segments rest on and what became of them, each true when its check passes.

They tell; they stop nothing. What stops is the data gate (activation/gate.py), which holds a shop
by the same limits inside the transaction that would change memberships.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import dagster as dg
from sqlalchemy.orm import Session

from activation import gate
from activation.holds import read_hold, read_swing
from activation.standing import (
    Falls,
    count_broken_keys,
    count_currencies,
    just_judged,
    last_decided_at,
    read_falls,
)
from core.database import session_scope
from core.models import RfmRun, Shop
from core.shops import business_clock, installed_shops
from orchestration.shared.names import RAW_ORDERS, SEGMENT_MEMBERSHIPS
from orchestration.shared.runtime import Runtime

T = TypeVar("T")

SCORED_WITHIN = timedelta(hours=26)


def _of_each(
    runtime: Runtime, look: Callable[[Session, Shop], T], *, is_scored: bool = False
) -> dict[str, T]:
    """`is_scored`: only of shops that were; before there may be no marts to look into."""
    with session_scope(runtime.factory) as session:
        return {
            shop.domain: look(session, shop)
            for shop in installed_shops(session)
            if shop.baseline_at is not None or not is_scored
        }


def _judged(runtime: Runtime, session: Session, shop: Shop) -> RfmRun | None:
    return just_judged(session, shop.shop_id, now=business_clock(shop, runtime.clock).now())


# After the gate, whose figures it then has.
@dg.asset_check(
    asset=RAW_ORDERS,
    additional_deps=[SEGMENT_MEMBERSHIPS],
    description="Neither orders that count nor customers fell by more than 2 % since the last "
    "accepted full run.",
)
def rows_did_not_fall(runtime: Runtime) -> dg.AssetCheckResult:
    def look(session: Session, shop: Shop) -> Falls:
        return read_falls(session, shop.shop_id, judged=_judged(runtime, session, shop))

    falls = _of_each(runtime, look)
    return dg.AssetCheckResult(
        passed=not any(each.fell for each in falls.values()),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "orders": sum(each.now.orders for each in falls.values()),
            "customers": sum(each.now.customers for each in falls.values()),
            "fell_by_shop": {
                domain: {
                    "orders": each.now.orders,
                    "orders_before": each.accepted.orders if each.accepted else None,
                    "customers": each.now.customers,
                    "customers_before": each.accepted.customers if each.accepted else None,
                }
                for domain, each in falls.items()
                if each.fell
            },
        },
    )


@dg.asset_check(
    asset=RAW_ORDERS,
    description="At most 2 % of the orders that count are in another currency than the shop's; "
    "those are in no sum.",
)
def orders_are_in_the_shops_currency(runtime: Runtime) -> dg.AssetCheckResult:
    found = _of_each(runtime, lambda session, shop: count_currencies(session, shop.shop_id))
    return dg.AssetCheckResult(
        passed=not any(each.is_mixed for each in found.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "orders": sum(each.orders for each in found.values()),
            "in_another_currency": sum(each.in_another for each in found.values()),
            "by_shop": {
                domain: each.in_another for domain, each in found.items() if each.in_another
            },
        },
    )


@dg.asset_check(
    asset=SEGMENT_MEMBERSHIPS,
    description="Every customer of the marts has one row and a segment, every member is one of "
    "them, and every order's customer is known.",
)
def keys_are_whole(runtime: Runtime) -> dg.AssetCheckResult:
    found = _of_each(
        runtime, lambda session, shop: count_broken_keys(session, shop.shop_id), is_scored=True
    )
    names = sorted({name for counts in found.values() for name in counts})
    totals = {name: sum(counts[name] for counts in found.values()) for name in names}
    return dg.AssetCheckResult(
        passed=not any(totals.values()),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            **totals,
            "by_shop": {domain: counts for domain, counts in found.items() if any(counts.values())},
        },
    )


@dg.asset_check(
    asset=SEGMENT_MEMBERSHIPS,
    description="The data gate holds no shop's segments. A hold ends when a full run passes, or "
    "when a person accepts it: `ecomcrm segments accept`.",
)
def no_segments_are_held(runtime: Runtime) -> dg.AssetCheckResult:
    holds = _of_each(runtime, lambda session, shop: read_hold(session, shop.shop_id))
    held = {domain: hold for domain, hold in holds.items() if hold}
    return dg.AssetCheckResult(
        passed=not held,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "held_shops": len(held),
            "reasons": {domain: hold.reason for domain, hold in held.items()},
            "since": {domain: hold.held_at.isoformat() for domain, hold in held.items()},
        },
    )


@dg.asset_check(
    asset=SEGMENT_MEMBERSHIPS,
    description="Memberships follow the marts: at most a fifth of a shop's customers (of 200 or "
    "more) would change segment now. More means a hold, or orders that nobody works on.",
)
def segments_do_not_swing(runtime: Runtime) -> dg.AssetCheckResult:
    swings = _of_each(
        runtime, lambda session, shop: read_swing(session, shop.shop_id), is_scored=True
    )
    return dg.AssetCheckResult(
        passed=not any(gate.swings(swing) for swing in swings.values()),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "members": sum(swing.members for swing in swings.values()),
            "would_move": sum(swing.moved for swing in swings.values()),
            "would_move_by_shop": {
                domain: swing.moved for domain, swing in swings.items() if swing.moved
            },
        },
    )


@dg.asset_check(
    asset=SEGMENT_MEMBERSHIPS,
    description="The gate has decided on a full run of every synced shop within 26 hours.",
)
def scored_within_a_day(runtime: Runtime) -> dg.AssetCheckResult:
    def hours(session: Session, shop: Shop) -> float | None:
        now = business_clock(shop, runtime.clock).now()
        since = last_decided_at(session, shop.shop_id) or shop.first_sync_completed_at
        return round((now - since).total_seconds() / 3600, 1) if since else None

    ages = _of_each(runtime, hours)
    limit = SCORED_WITHIN.total_seconds() / 3600
    overdue = [domain for domain, age in ages.items() if age is not None and age > limit]
    return dg.AssetCheckResult(
        passed=not overdue,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"overdue_shops": len(overdue), "overdue": overdue, "hours_since_run": ages},
    )
