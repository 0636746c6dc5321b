"""Who would have entered a flow in a past period: moments found in what history keeps.

Orders keep when they were cancelled and refunded, memberships are intervals, a checkout keeps its
last update alone. An order counts for an instant if it counts now, or if what made it stop counting
came later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.definition import (
    AbandonedCheckout,
    AnyOrder,
    ConsentGiven,
    Definition,
    EnteredSegment,
    FirstOrder,
    Once,
    Silence,
    TagAdded,
)
from core.errors import PermanentError

FIRST: Final = "first"


def _counted(orders: str, at: str) -> str:
    """Whether an order counted at an instant, as SQL."""
    return f"""(
        NOT {orders}.is_test
        AND ({orders}.cancelled_at IS NULL OR {orders}.cancelled_at > {at})
        AND (
            {orders}.is_counted
            OR {orders}.cancelled_at > {at}
            OR EXISTS (
                SELECT 1
                FROM raw_shopify.refunds
                WHERE
                    refunds.shop_id = {orders}.shop_id
                    AND refunds.order_id = {orders}.order_id
                    AND refunds.processed_at > {at}
            )
        )
    )"""


PAST_ORDERS = text(f"""
-- Returns orders of the period that counted when they were placed; with :is_first those that were
-- the customer's first then. Changes nothing. Indexes ix_orders__processed, ix_orders__customer,
-- ix_refunds__order.
SELECT
    orders.customer_id,
    orders.processed_at AS moment_at,
    orders.order_id,
    CAST(NULL AS text) AS checkout_key,
    CAST(NULL AS text) AS segment,
    CAST(orders.order_id AS text) AS entry_key
FROM raw_shopify.orders
WHERE
    orders.shop_id = :shop_id
    AND orders.customer_id IS NOT NULL
    AND orders.processed_at >= :since
    AND orders.processed_at < :until
    AND {_counted("orders", "orders.processed_at")}
    AND NOT (
        :is_first
        AND EXISTS (
            SELECT 1
            FROM raw_shopify.orders AS earlier
            WHERE
                earlier.shop_id = orders.shop_id
                AND earlier.customer_id = orders.customer_id
                AND (earlier.processed_at, earlier.order_id)
                < (orders.processed_at, orders.order_id)
                AND {_counted("earlier", "orders.processed_at")}
        )
    )
""")

PAST_ENTRIES_TO_SEGMENTS = text("""
-- Returns the stays that began in the period in one of the segments, out of another one; not those
-- that lasted no time. Changes nothing. Reads the shop's history.
SELECT
    stays.customer_id,
    stays.entered_at AS moment_at,
    CAST(NULL AS bigint) AS order_id,
    CAST(NULL AS text) AS checkout_key,
    stays.segment,
    CAST(NULL AS text) AS entry_key
FROM crm.segment_memberships AS stays
WHERE
    stays.shop_id = :shop_id
    AND stays.customer_id > 0
    AND stays.segment = ANY(CAST(:segments AS text []))
    AND stays.previous_segment IS NOT NULL
    AND stays.previous_segment <> stays.segment
    AND stays.entered_at >= :since
    AND stays.entered_at < :until
    AND (stays.exited_at IS NULL OR stays.exited_at > stays.entered_at)
""")

PAST_SILENCES = text(f"""
-- Returns the first instant of each silence in the period at which it was long enough and, where
-- segments are named, the customer in one of them. Changes nothing. Reads the shop's orders up to
-- the period, and with segments its history. An order ends the silence of the one before it.
WITH spans AS MATERIALIZED (
    SELECT
        orders.customer_id,
        orders.order_id,
        orders.cancelled_at,
        (orders.processed_at AT TIME ZONE :zone + make_interval(days => :days)) AT TIME ZONE :zone
            AS silent_at,
        lead(orders.processed_at) OVER (
            PARTITION BY orders.customer_id
            ORDER BY orders.processed_at, orders.order_id
        ) AS ended_at
    FROM raw_shopify.orders
    WHERE
        orders.shop_id = :shop_id
        AND orders.customer_id IS NOT NULL
        AND orders.processed_at < :until
        AND {_counted("orders", "orders.processed_at")}
),

found AS (
    SELECT
        spans.customer_id,
        spans.order_id,
        stays.segment,
        CASE
            WHEN :has_segments THEN greatest(spans.silent_at, stays.entered_at)
            ELSE spans.silent_at
        END AS moment_at,
        spans.ended_at,
        spans.cancelled_at,
        stays.exited_at
    FROM spans
    LEFT JOIN crm.segment_memberships AS stays
        ON
            :has_segments
            AND stays.shop_id = :shop_id
            AND stays.customer_id = spans.customer_id
            AND stays.segment = ANY(CAST(:segments AS text []))
            AND (stays.exited_at IS NULL OR stays.exited_at > stays.entered_at)
    WHERE
        spans.silent_at < :until
        AND (spans.ended_at IS NULL OR spans.ended_at > :since)
        AND (NOT :has_segments OR stays.customer_id IS NOT NULL)
)

SELECT DISTINCT ON (found.customer_id, found.order_id)
    found.customer_id,
    found.moment_at,
    found.order_id,
    CAST(NULL AS text) AS checkout_key,
    found.segment,
    CAST(found.order_id AS text) AS entry_key
FROM found
WHERE
    found.moment_at >= :since
    AND found.moment_at < :until
    AND (found.ended_at IS NULL OR found.moment_at < found.ended_at)
    AND (found.exited_at IS NULL OR found.moment_at < found.exited_at)
    AND (found.cancelled_at IS NULL OR found.moment_at < found.cancelled_at)
ORDER BY found.customer_id, found.order_id, found.moment_at
""")

PAST_CHECKOUTS = text("""
-- Returns the checkouts last changed in the period and left for :delay, in which nobody ordered by
-- them, with whom they are of. Changes nothing. Indexes ix_checkouts__updated, ix_customers__email,
-- ix_orders__processed.
SELECT
    coalesce(checkouts.customer_id, namesake.customer_id) AS customer_id,
    checkouts.updated_at AS moment_at,
    CAST(NULL AS bigint) AS order_id,
    checkouts.checkout_key,
    CAST(NULL AS text) AS segment,
    checkouts.checkout_key AS entry_key
FROM raw_shopify.checkouts
LEFT JOIN LATERAL (
    SELECT customers.customer_id
    FROM raw_shopify.customers
    WHERE
        checkouts.customer_id IS NULL
        AND customers.shop_id = checkouts.shop_id
        AND customers.email_normalized = checkouts.email_normalized
        AND customers.deleted_at IS NULL
    ORDER BY customers.customer_id
    LIMIT 1
) AS namesake ON true
WHERE
    checkouts.shop_id = :shop_id
    AND checkouts.updated_at >= :since
    AND checkouts.updated_at < :until
    AND (checkouts.completed_at IS NULL OR checkouts.completed_at > checkouts.updated_at)
    AND coalesce(checkouts.customer_id, namesake.customer_id) IS NOT NULL
    AND checkouts.updated_at + :delay < :until
    AND (checkouts.completed_at IS NULL OR checkouts.completed_at > checkouts.updated_at + :delay)
    AND NOT EXISTS (
        SELECT 1
        FROM raw_shopify.orders
        WHERE
            orders.shop_id = checkouts.shop_id
            AND orders.processed_at >= checkouts.updated_at
            AND orders.processed_at <= checkouts.updated_at + :delay
            AND (
                orders.customer_id = coalesce(checkouts.customer_id, namesake.customer_id)
                OR orders.checkout_token IN (checkouts.token, checkouts.checkout_key)
                OR lower(btrim(orders.email)) = checkouts.email_normalized
            )
    )
""")

EARLIER_ENTRIES = text("""
-- Returns how these customers had entered the flow before the period. Changes nothing.
-- Index ix_enrollments__customer.
SELECT enrollments.customer_id, enrollments.entry_key, enrollments.moment_at
FROM crm.enrollments
INNER JOIN crm.automations
    ON
        enrollments.shop_id = automations.shop_id
        AND enrollments.automation_id = automations.automation_id
WHERE
    enrollments.shop_id = :shop_id
    AND automations.key = :key
    AND enrollments.customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND enrollments.enrolled_at < :since
    AND NOT enrollments.is_test
""")


def key_of_instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Entry:
    """One customer who would have entered, as crm.enrollments would have kept it."""

    customer_id: int
    entry_key: str
    moment_at: datetime
    order_id: int | None
    checkout_key: str | None
    segment: str | None


def past_entries(
    session: Session,
    shop_id: int,
    key: str,
    definition: Definition,
    *,
    zone: str,
    since: datetime,
    until: datetime,
    entered_before: datetime | None = None,
) -> list[Entry]:
    """In the order of their moments, with the re-entry rule kept. Whoever entered in truth before
    `entered_before` (by default: before the period) has entered.

    Raises PermanentError for a trigger that history keeps nothing of.
    """
    found = sorted(
        _moments(session, shop_id, definition, zone=zone, since=since, until=until),
        key=lambda each: (each.moment_at, each.customer_id, each.entry_key),
    )
    earlier = session.execute(
        EARLIER_ENTRIES,
        {
            "shop_id": shop_id,
            "key": key,
            "customer_ids": sorted({each.customer_id for each in found}),
            "since": entered_before or since,
        },
    )
    rule = _Reentry(definition)
    for row in earlier:
        rule.note(row.customer_id, row.entry_key, row.moment_at)
    return [each for each in found if rule.lets_in(each)]


def _moments(
    session: Session,
    shop_id: int,
    definition: Definition,
    *,
    zone: str,
    since: datetime,
    until: datetime,
) -> list[Entry]:
    is_once = isinstance(definition.entry, Once)
    period: dict[str, Any] = {"shop_id": shop_id, "since": since, "until": until}
    match definition.trigger:
        case FirstOrder():
            rows = session.execute(PAST_ORDERS, {**period, "is_first": True})
        case AnyOrder():
            rows = session.execute(PAST_ORDERS, {**period, "is_first": False})
        case EnteredSegment(segments=segments):
            wanted = [each.value for each in segments]
            rows = session.execute(PAST_ENTRIES_TO_SEGMENTS, {**period, "segments": wanted})
        case Silence(days=days, segments=segments):
            wanted = [each.value for each in segments]
            asked = {"segments": wanted, "has_segments": bool(wanted), "days": days, "zone": zone}
            rows = session.execute(PAST_SILENCES, {**period, **asked})
        case AbandonedCheckout():
            rows = session.execute(PAST_CHECKOUTS, {**period, "delay": definition.first_delay})
        case TagAdded() | ConsentGiven():
            raise PermanentError("There is no history to try a flow with this trigger on.")
    return [
        Entry(
            customer_id=row.customer_id,
            entry_key=FIRST if is_once else row.entry_key or key_of_instant(row.moment_at),
            moment_at=row.moment_at,
            order_id=row.order_id,
            checkout_key=row.checkout_key,
            segment=row.segment,
        )
        for row in rows
    ]


class _Reentry:
    """Who has entered when, asked in the order of time."""

    def __init__(self, definition: Definition) -> None:
        entry = definition.entry
        self._is_once = isinstance(entry, Once)
        self._rest = timedelta(0 if isinstance(entry, Once) else entry.after_days)
        self._keys: set[tuple[int, str]] = set()
        self._last: dict[int, datetime] = {}

    def note(self, customer_id: int, entry_key: str, moment: datetime) -> None:
        self._keys.add((customer_id, entry_key))
        self._last[customer_id] = max(moment, self._last.get(customer_id, moment))

    def lets_in(self, entry: Entry) -> bool:
        last = self._last.get(entry.customer_id)
        if (entry.customer_id, entry.entry_key) in self._keys:
            return False
        if last is not None and self._is_once:
            return False
        if last is not None and entry.moment_at < last + self._rest:
            return False
        self.note(entry.customer_id, entry.entry_key, entry.moment_at)
        return True


def of_people(entries: Sequence[Entry]) -> list[int]:
    """Their numbers, once each."""
    return sorted({each.customer_id for each in entries})
