"""Hop 4: moments become enrolments, once per customer, automation and entry key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.definition import FirstOrder
from activation.automation.switching import LoadedAutomation, load_automations

FIRST: Final = "first"  # entry key of what happens once in a customer's life

ENROL_FIRST_ORDERS = text("""
-- Returns how many entered and how many came too late to.
-- Changes crm.enrollments: one row per customer whose first counted order is a moment. The first
-- order of all counts: if that one is historical, a later one is no first order. Who has just been
-- given another customer's orders by a merge waits until that one's enrolments are theirs too
-- (activation/merges.py).
-- Nobody is held out yet; the holdout's share of customers belongs where is_held_out is written.
-- Indexes ix_customer_statistics__first_order (all) or its primary key (some), ix_orders__customer.
WITH entered AS (
    INSERT INTO crm.enrollments (
        shop_id, automation_id, version, customer_id, entry_key, moment_at, order_id, state,
        is_held_out, step_position, due_at, run_id, enrolled_at, finished_at
    )
    SELECT
        automations.shop_id,
        automations.automation_id,
        :version,
        statistics.customer_id,
        :entry_key,
        first_order.processed_at,
        first_order.order_id,
        CASE WHEN late.is_too_late THEN 'too_late' ELSE 'active' END,
        false,
        0,
        CASE WHEN NOT late.is_too_late THEN first_order.processed_at END,
        :run_id,
        :now,
        CASE WHEN late.is_too_late THEN :now END
    FROM crm.automations
    INNER JOIN crm.shops ON automations.shop_id = shops.shop_id
    INNER JOIN raw_shopify.customer_statistics AS statistics
        ON
            automations.shop_id = statistics.shop_id
            AND statistics.first_order_at
            >= greatest(automations.switched_on_at, shops.first_sync_started_at)
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
    CROSS JOIN LATERAL (
        SELECT first_order.processed_at + :allowed < :now AS is_too_late
    ) AS late
    WHERE
        automations.shop_id = :shop_id
        AND automations.automation_id = :automation_id
        AND automations.is_active
        AND automations.switched_on_at IS NOT NULL
        AND shops.first_sync_started_at IS NOT NULL
        AND shops.first_sync_completed_at IS NOT NULL
        AND shops.baseline_at IS NOT NULL
        AND (
            CAST(:customer_ids AS bigint []) IS NULL
            OR statistics.customer_id = ANY(CAST(:customer_ids AS bigint []))
        )
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.customer_merges AS merges
            WHERE
                merges.shop_id = automations.shop_id
                AND merges.kept_customer_id = statistics.customer_id
                AND merges.applied_at IS NULL
        )
        AND NOT EXISTS (
            SELECT 1
            FROM crm.enrollments
            WHERE
                enrollments.shop_id = automations.shop_id
                AND enrollments.automation_id = automations.automation_id
                AND enrollments.customer_id = statistics.customer_id
                AND enrollments.entry_key = :entry_key
        )
    ON CONFLICT (shop_id, automation_id, customer_id, entry_key) DO NOTHING
    RETURNING state
)

SELECT
    count(*) FILTER (WHERE state = 'active') AS enrolled,
    count(*) FILTER (WHERE state = 'too_late') AS too_late
FROM entered
""")


@dataclass(frozen=True)
class EnrolmentReport:
    enrolled: int = 0
    too_late: int = 0


def enrol(
    session: Session,
    shop_id: int,
    *,
    customer_ids: Sequence[int] | None,
    now: datetime,
    run_id: str | None,
) -> EnrolmentReport:
    """Evaluate the triggers of all active automations for `customer_ids` (None: everyone)."""
    enrolled = too_late = 0
    for automation in load_automations(session, shop_id):
        if automation.is_active and isinstance(automation.definition.trigger, FirstOrder):
            report = _enrol_first_orders(
                session, shop_id, automation, customer_ids=customer_ids, now=now, run_id=run_id
            )
            enrolled += report.enrolled
            too_late += report.too_late
    return EnrolmentReport(enrolled=enrolled, too_late=too_late)


def _enrol_first_orders(
    session: Session,
    shop_id: int,
    automation: LoadedAutomation,
    *,
    customer_ids: Sequence[int] | None,
    now: datetime,
    run_id: str | None,
) -> EnrolmentReport:
    row = session.execute(
        ENROL_FIRST_ORDERS,
        {
            "shop_id": shop_id,
            "automation_id": automation.automation_id,
            "version": automation.version,
            "entry_key": FIRST,
            "allowed": automation.definition.first_delay + automation.definition.late_after,
            "customer_ids": None if customer_ids is None else list(customer_ids),
            "now": now,
            "run_id": run_id,
        },
    ).one()
    return EnrolmentReport(enrolled=row.enrolled, too_late=row.too_late)
