"""Who leaves a flow before its end, and why: what started it is over, or what the flow ends on has
come.

Asked at every due step, when a mail is frozen and right before the first attempt to send it. What
ends a flow is said by its current version. A test goes through to its end.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.arrays import array_text
from core.models.enums import ExitReason

# An order counts as one since the moment if it was placed after what the entry goes by: of a
# silence that is its last order, of all else the moment. A cart's own order, whatever became of it,
# is its end; others count as orders do. Orders under the same address: of customers who have it,
# and of guests.
READ_EXITS = text("""
-- Returns the subjects whose enrolment ends early, and why. Changes nothing. Primary keys;
-- ix_orders__customer where an order ends the flow; for carts ix_orders__checkout_token,
-- ix_customers__email, ix_orders__guest; uq_segment_memberships__one_open where leaving does.
WITH flows AS MATERIALIZED (
    SELECT
        automations.automation_id,
        versions.definition #>> '{trigger,type}' AS trigger_type,
        coalesce(versions.definition -> 'exit_on' @> '["ordered"]', false) AS ends_on_order,
        CASE
            WHEN versions.definition -> 'exit_on' @> '["left_segments"]'
                THEN nullif(versions.definition #> '{trigger,segments}', '[]')
        END AS segments
    FROM crm.automations
    INNER JOIN crm.automation_versions AS versions
        ON
            automations.shop_id = versions.shop_id
            AND automations.automation_id = versions.automation_id
            AND automations.current_version = versions.version
    WHERE
        automations.shop_id = :shop_id
        AND automations.automation_id = ANY(CAST(:automation_ids AS integer []))
),

entries AS MATERIALIZED (
    SELECT
        subject.key,
        enrollments.customer_id,
        enrollments.order_id,
        enrollments.checkout_key,
        enrollments.moment_at,
        CASE WHEN enrollments.state = 'exited' THEN nullif(enrollments.exit_reason, 'merged') END
            AS had_left,
        flows.trigger_type = 'silence' AS is_silence,
        flows.ends_on_order,
        flows.segments,
        coalesce(orders.is_counted AND orders.customer_id = enrollments.customer_id, false)
            AS order_counts,
        CASE
            WHEN flows.trigger_type = 'silence'
                THEN coalesce(orders.processed_at, enrollments.moment_at)
            ELSE enrollments.moment_at
        END AS since
    FROM unnest(CAST(:keys AS bigint []), CAST(:enrollment_ids AS bigint []))
        AS subject (key, enrollment_id)
    INNER JOIN crm.enrollments
        ON
            enrollments.shop_id = :shop_id
            AND subject.enrollment_id = enrollments.enrollment_id
    INNER JOIN flows ON enrollments.automation_id = flows.automation_id
    LEFT JOIN raw_shopify.orders
        ON orders.shop_id = :shop_id AND enrollments.order_id = orders.order_id
    WHERE NOT enrollments.is_test
),

judged AS (
    SELECT
        entries.key,
        CASE
            WHEN entries.had_left IS NOT NULL THEN entries.had_left
            WHEN
                entries.order_id IS NOT NULL
                AND NOT entries.is_silence
                AND NOT entries.order_counts
                THEN 'order_no_longer_counts'
            WHEN
                (
                    entries.ends_on_order
                    OR entries.is_silence
                    OR entries.checkout_key IS NOT NULL
                )
                AND EXISTS (
                    SELECT 1
                    FROM raw_shopify.orders
                    WHERE
                        orders.shop_id = :shop_id
                        AND orders.customer_id = entries.customer_id
                        AND orders.processed_at >= entries.since
                        AND (entries.order_id IS NULL OR orders.processed_at > entries.since)
                        AND orders.is_counted
                )
                THEN 'ordered'
            WHEN entries.checkout_key IS NOT NULL
                THEN (
                    SELECT
                        CASE
                            WHEN
                                EXISTS (
                                    SELECT 1
                                    FROM raw_shopify.orders
                                    WHERE
                                        orders.shop_id = :shop_id
                                        AND orders.checkout_token = ANY(
                                            ARRAY[checkouts.token, entries.checkout_key]
                                        )
                                )
                                OR EXISTS (
                                    SELECT 1
                                    FROM raw_shopify.customers AS namesakes
                                    INNER JOIN raw_shopify.orders
                                        ON
                                            namesakes.shop_id = orders.shop_id
                                            AND namesakes.customer_id = orders.customer_id
                                    WHERE
                                        namesakes.shop_id = :shop_id
                                        AND namesakes.email_normalized
                                        = ANY(
                                            ARRAY[
                                                checkouts.email_normalized,
                                                customers.email_normalized
                                            ]
                                        )
                                        AND orders.processed_at >= entries.since
                                        AND orders.is_counted
                                )
                                OR EXISTS (
                                    SELECT 1
                                    FROM raw_shopify.orders
                                    WHERE
                                        orders.shop_id = :shop_id
                                        AND orders.customer_id IS NULL
                                        AND orders.email IS NOT NULL
                                        AND lower(btrim(orders.email))
                                        = ANY(
                                            ARRAY[
                                                checkouts.email_normalized,
                                                customers.email_normalized
                                            ]
                                        )
                                        AND orders.processed_at >= entries.since
                                        AND orders.is_counted
                                )
                                THEN 'ordered'
                            WHEN checkouts.completed_at IS NOT NULL THEN 'checkout_completed'
                            WHEN
                                checkouts.checkout_key IS NULL
                                OR checkouts.deleted_at IS NOT NULL
                                THEN 'checkout_gone'
                        END
                    FROM (SELECT 1) AS once
                    LEFT JOIN raw_shopify.checkouts
                        ON
                            checkouts.shop_id = :shop_id
                            AND checkouts.checkout_key = entries.checkout_key
                    LEFT JOIN raw_shopify.customers
                        ON
                            customers.shop_id = :shop_id
                            AND customers.customer_id = entries.customer_id
                )
            WHEN
                entries.segments IS NOT NULL
                AND NOT EXISTS (
                    SELECT 1
                    FROM crm.segment_memberships AS memberships
                    WHERE
                        memberships.shop_id = :shop_id
                        AND memberships.customer_id = entries.customer_id
                        AND memberships.exited_at IS NULL
                        AND entries.segments @> to_jsonb(CAST(memberships.segment AS text))
                )
                THEN 'left_segments'
        END AS reason
    FROM entries
)

SELECT key, reason FROM judged WHERE reason IS NOT NULL
""")


def read_exits(
    session: Session,
    shop_id: int,
    enrollment_of: Mapping[int, int],
    *,
    automation_ids: Iterable[int],
) -> dict[int, ExitReason]:
    """Why the enrolments of these keys end now; those that go on are left out.

    `automation_ids`: of the flows they are in.
    """
    if not enrollment_of:
        return {}
    rows = session.execute(
        READ_EXITS,
        {
            "shop_id": shop_id,
            "automation_ids": array_text(automation_ids),
            "keys": array_text(enrollment_of.keys()),
            "enrollment_ids": array_text(enrollment_of.values()),
        },
    )
    return {row.key: ExitReason(row.reason) for row in rows.all()}
