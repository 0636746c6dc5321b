"""What starts a flow: for each trigger one SELECT of moments, used by enrolment, by what is due and
by dry runs.

Each returns customer_id, moment_at, order_id, checkout_key, segment and own_key (what makes this
entry another than the next) of moments from :since on, for :customer_ids (NULL: everyone). Silences
also have an end, :until: theirs are instants that come by themselves. Of the others none is in the
future, except by a clock that differs from Shopify's. :with_stays false leaves out what can only be
found by reading all open stays. Enrolments, switches and versions are entries.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from activation.automation.triggers import (
    AbandonedCheckout,
    AnyOrder,
    ConsentGiven,
    EnteredSegment,
    FirstOrder,
    Silence,
    TagAdded,
    Trigger,
)
from core.models.enums import Segment


@dataclass(frozen=True)
class Candidates:
    """`parameters` besides shop_id, since, until, zone, customer_ids and with_stays."""

    sql: str
    parameters: dict[str, Any]


def candidates_of(trigger: Trigger) -> Candidates | None:  # noqa: PLR0911 - one for each
    """None: nobody is enrolled by it."""
    match trigger:
        case FirstOrder():
            return Candidates(_FIRST_ORDERS, {})
        case AnyOrder():
            return Candidates(_ORDERS, {})
        case AbandonedCheckout():
            return Candidates(_CHECKOUTS, {})
        case EnteredSegment(segments=segments):
            return Candidates(_ENTRIES_TO_SEGMENTS, {"segments": _names(segments)})
        case TagAdded(tag=tag):
            return Candidates(_ADDED_TAGS, {"tag": tag})
        case Silence(days=days, segments=segments):
            named: dict[str, Any] = {"segments": _names(segments)} if segments else {}
            sql = _SILENCES_IN_SEGMENTS if segments else _SILENCES
            return Candidates(sql, {"days": days, **named})
        case ConsentGiven():
            return None


def silent_before(trigger: Silence) -> Candidates:
    """Those silent already at :until: read from everybody's statistics, whenever it began."""
    found = candidates_of(trigger)
    assert found is not None  # noqa: S101
    if trigger.segments:
        return found
    return Candidates(_ALL_SILENCES, found.parameters)


def _names(segments: Sequence[Segment]) -> list[str]:
    return [segment.value for segment in segments]


def _asked(column: str) -> str:
    """Whether the customer is among those asked for; with NULL the planner sees no condition."""
    return f"""(
        CAST(:customer_ids AS bigint []) IS NULL
        OR {column} = ANY(CAST(:customer_ids AS bigint []))
    )"""


_NO_CHECKOUT: Final = "CAST(NULL AS text) AS checkout_key"
_NO_SEGMENT: Final = "CAST(NULL AS text) AS segment"
_NO_ORDER: Final = "CAST(NULL AS bigint) AS order_id"
# Postgres prints an instant as Python does with timespec="microseconds".
_AS_KEY: Final = (
    """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS.US') || '+00\\:00'"""
)

# The first order of all counts: if that one is historical, a later one is no first order.
# Indexes ix_customer_statistics__first_order (all) or its primary key (some), ix_orders__customer.
_FIRST_ORDERS: Final = f"""
    SELECT
        statistics.customer_id,
        first_order.processed_at AS moment_at,
        first_order.order_id,
        {_NO_CHECKOUT},
        {_NO_SEGMENT},
        CAST(first_order.order_id AS text) AS own_key
    FROM raw_shopify.customer_statistics AS statistics
    CROSS JOIN LATERAL (
        SELECT orders.order_id, orders.processed_at
        FROM raw_shopify.orders
        WHERE
            orders.shop_id = statistics.shop_id
            AND orders.customer_id = statistics.customer_id
            AND orders.processed_at = statistics.first_order_at
            AND orders.is_counted
        ORDER BY orders.order_id
        LIMIT 1
    ) AS first_order
    WHERE
        statistics.shop_id = :shop_id
        AND statistics.first_order_at >= :since
        AND {_asked("statistics.customer_id")}
"""

# Index ix_orders__processed (all) or ix_orders__customer (some).
_ORDERS: Final = f"""
    SELECT
        orders.customer_id,
        orders.processed_at AS moment_at,
        orders.order_id,
        {_NO_CHECKOUT},
        {_NO_SEGMENT},
        CAST(orders.order_id AS text) AS own_key
    FROM raw_shopify.orders
    WHERE
        orders.shop_id = :shop_id
        AND orders.customer_id IS NOT NULL
        AND orders.is_counted
        AND orders.processed_at >= :since
        AND {_asked("orders.customer_id")}
"""

# A stay that has ended since began all the same. Reads the open stays of all, which have no index
# on what changes (decision 25), or those of some by ix_segment_memberships__customer; ended ones by
# ix_segment_memberships__exited. Those of no customer are of erased people.
_STAYS: Final = f"""
        stays.shop_id = :shop_id
        AND stays.customer_id > 0
        AND stays.segment = ANY(CAST(:segments AS text []))
        AND stays.entered_at >= :since
        AND {_asked("stays.customer_id")}
"""
_ENTRIES_TO_SEGMENTS: Final = f"""
    SELECT
        stays.customer_id,
        stays.entered_at AS moment_at,
        {_NO_ORDER},
        {_NO_CHECKOUT},
        stays.segment,
        {_AS_KEY.format("stays.entered_at")} AS own_key
    FROM crm.segment_memberships AS stays
    WHERE
        {_STAYS}
        AND :with_stays
        AND stays.exited_at IS NULL
        AND stays.previous_segment <> stays.segment
        AND stays.cause <> 'baseline'
    UNION ALL
    SELECT
        stays.customer_id,
        stays.entered_at,
        NULL,
        NULL,
        stays.segment,
        {_AS_KEY.format("stays.entered_at")}
    FROM crm.segment_memberships AS stays
    WHERE
        {_STAYS}
        AND stays.exited_at > stays.entered_at
        AND stays.exited_at >= :since
        AND stays.previous_segment <> stays.segment
        AND stays.cause <> 'baseline'
"""

# With an address of somebody who is a customer, or of a customer. No order came of it: neither by
# its token, nor by the customer or anybody with the address since (as activation/eligibility/
# exits.py). Indexes ix_checkouts__updated, or ix_checkouts__customer and ix_checkouts__email;
# ix_customers__email, ix_orders__customer, ix_orders__checkout_token, ix_orders__guest.
_CHECKOUTS: Final = f"""
    SELECT
        owner.customer_id,
        checkouts.updated_at AS moment_at,
        {_NO_ORDER},
        checkouts.checkout_key,
        {_NO_SEGMENT},
        checkouts.checkout_key AS own_key
    FROM raw_shopify.checkouts
    CROSS JOIN LATERAL (
        SELECT coalesce(
            checkouts.customer_id,
            (
                SELECT min(customers.customer_id)
                FROM raw_shopify.customers
                WHERE
                    customers.shop_id = checkouts.shop_id
                    AND customers.email_normalized = checkouts.email_normalized
                    AND customers.deleted_at IS NULL
            )
        ) AS customer_id
    ) AS owner
    LEFT JOIN raw_shopify.customers AS known
        ON known.shop_id = checkouts.shop_id AND known.customer_id = owner.customer_id
    WHERE
        checkouts.shop_id = :shop_id
        AND checkouts.completed_at IS NULL
        AND checkouts.deleted_at IS NULL
        AND checkouts.updated_at >= :since
        AND owner.customer_id IS NOT NULL
        AND (
            CAST(:customer_ids AS bigint []) IS NULL
            OR checkouts.customer_id = ANY(CAST(:customer_ids AS bigint []))
            OR (
                checkouts.customer_id IS NULL
                AND checkouts.email_normalized IN (
                    SELECT customers.email_normalized
                    FROM raw_shopify.customers
                    WHERE
                        customers.shop_id = :shop_id
                        AND customers.customer_id = ANY(CAST(:customer_ids AS bigint []))
                )
                AND owner.customer_id = ANY(CAST(:customer_ids AS bigint []))
            )
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.orders
            WHERE
                orders.shop_id = checkouts.shop_id
                AND orders.checkout_token IN (checkouts.token, checkouts.checkout_key)
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.orders
            WHERE
                orders.shop_id = checkouts.shop_id
                AND orders.customer_id = owner.customer_id
                AND orders.processed_at >= checkouts.updated_at
                AND orders.is_counted
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.customers AS namesakes
            INNER JOIN raw_shopify.orders
                ON
                    namesakes.shop_id = orders.shop_id
                    AND namesakes.customer_id = orders.customer_id
            WHERE
                namesakes.shop_id = checkouts.shop_id
                AND namesakes.email_normalized
                IN (checkouts.email_normalized, known.email_normalized)
                AND orders.processed_at >= checkouts.updated_at
                AND orders.is_counted
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.orders
            WHERE
                orders.shop_id = checkouts.shop_id
                AND orders.customer_id IS NULL
                AND orders.email IS NOT NULL
                AND lower(btrim(orders.email))
                IN (checkouts.email_normalized, known.email_normalized)
                AND orders.processed_at >= checkouts.updated_at
                AND orders.is_counted
        )
"""

# Index ix_tag_additions__tag, or ix_tag_additions__customer.
_ADDED_TAGS: Final = f"""
    SELECT DISTINCT
        additions.customer_id,
        additions.added_at AS moment_at,
        {_NO_ORDER},
        {_NO_CHECKOUT},
        {_NO_SEGMENT},
        {_AS_KEY.format("additions.added_at")} AS own_key
    FROM raw_shopify.tag_additions AS additions
    WHERE
        additions.shop_id = :shop_id
        AND additions.tag = lower(:tag)
        AND additions.added_at >= :since
        AND {_asked("additions.customer_id")}
"""

# N calendar days after the last order, at its time of day in the shop's zone.
_SILENT_AT: Final = """(
    (statistics.last_order_at AT TIME ZONE CAST(:zone AS text) + make_interval(days => :days))
    AT TIME ZONE CAST(:zone AS text)
)"""
# Days in a zone differ from days of 24 hours by less than this.
_ABOUT: Final = "interval '4 hours'"
_LAST_ORDER: Final = """(
    SELECT max(orders.order_id)
    FROM raw_shopify.orders
    WHERE
        orders.shop_id = statistics.shop_id
        AND orders.customer_id = statistics.customer_id
        AND orders.processed_at = statistics.last_order_at
        AND orders.is_counted
)"""
# Those whose N days are over within the time asked about, by their last order: index
# ix_orders__processed, which needs none on statistics, or their primary key (some).
_RECENT: Final = f"""
    SELECT
        statistics.shop_id,
        statistics.customer_id,
        statistics.last_order_at,
        max(orders.order_id) AS order_id,
        {_SILENT_AT} AS silent_at
    FROM raw_shopify.orders
    INNER JOIN raw_shopify.customer_statistics AS statistics
        ON
            orders.shop_id = statistics.shop_id
            AND orders.customer_id = statistics.customer_id
            AND orders.processed_at = statistics.last_order_at
    WHERE
        orders.shop_id = :shop_id
        AND orders.is_counted
        AND orders.processed_at >= :since - make_interval(days => :days) - {_ABOUT}
        AND orders.processed_at <= :until - make_interval(days => :days) + {_ABOUT}
        AND {_asked("orders.customer_id")}
    GROUP BY statistics.shop_id, statistics.customer_id
"""
_SILENCES: Final = f"""
    SELECT
        recent.customer_id,
        recent.silent_at AS moment_at,
        recent.order_id,
        {_NO_CHECKOUT},
        {_NO_SEGMENT},
        CAST(recent.order_id AS text) AS own_key
    FROM ({_RECENT}) AS recent
    WHERE recent.silent_at >= :since AND recent.silent_at <= :until
"""
# The moment is when both are so: the days are over, the stay has begun. Either may be the later.
# Index uq_segment_memberships__one_open; the open stays of all have none on when they began.
_SILENCES_IN_SEGMENTS: Final = f"""
    SELECT
        found.customer_id,
        found.moment_at,
        found.order_id,
        {_NO_CHECKOUT},
        found.segment,
        CAST(found.order_id AS text) AS own_key
    FROM (
        SELECT
            recent.customer_id,
            greatest(recent.silent_at, stays.entered_at) AS moment_at,
            recent.order_id,
            stays.segment
        FROM ({_RECENT}) AS recent
        INNER JOIN crm.segment_memberships AS stays
            ON
                stays.shop_id = :shop_id
                AND recent.customer_id = stays.customer_id
                AND stays.exited_at IS NULL
                AND stays.segment = ANY(CAST(:segments AS text []))
        WHERE recent.silent_at >= :since AND recent.silent_at <= :until
        UNION
        SELECT
            statistics.customer_id,
            greatest({_SILENT_AT}, stays.entered_at),
            {_LAST_ORDER},
            stays.segment
        FROM crm.segment_memberships AS stays
        INNER JOIN raw_shopify.customer_statistics AS statistics
            ON
                stays.shop_id = statistics.shop_id
                AND stays.customer_id = statistics.customer_id
        WHERE
            :with_stays
            AND {_STAYS}
            AND stays.exited_at IS NULL
            AND statistics.last_order_at <= :until - make_interval(days => :days) + {_ABOUT}
            AND {_SILENT_AT} <= :until
    ) AS found
    WHERE found.moment_at >= :since AND found.moment_at <= :until AND found.order_id IS NOT NULL
"""
_ALL_SILENCES: Final = f"""
    SELECT
        statistics.customer_id,
        {_SILENT_AT} AS moment_at,
        {_LAST_ORDER} AS order_id,
        {_NO_CHECKOUT},
        {_NO_SEGMENT},
        CAST({_LAST_ORDER} AS text) AS own_key
    FROM raw_shopify.customer_statistics AS statistics
    WHERE
        statistics.shop_id = :shop_id
        AND {_SILENT_AT} <= :until
        AND {_SILENT_AT} >= :since
"""
