"""What decides whether one customer enters one flow, read for the two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, read_definition
from activation.eligibility.quiet import zone_of
from activation.holds import read_hold
from core.errors import PermanentError

READ_FLOW = text("""
-- Returns the shop's flow of that key with its current definition. Changes nothing. Primary keys.
SELECT
    automations.automation_id,
    automations.key,
    automations.name,
    automations.is_active,
    automations.switched_on_at,
    automations.current_version,
    versions.definition,
    shops.domain,
    shops.time_zone,
    shops.first_sync_started_at,
    shops.first_sync_completed_at,
    shops.baseline_at,
    shops.access_scopes
FROM crm.automations
INNER JOIN crm.shops ON automations.shop_id = shops.shop_id
INNER JOIN crm.automation_versions AS versions
    ON
        automations.shop_id = versions.shop_id
        AND automations.automation_id = versions.automation_id
        AND automations.current_version = versions.version
WHERE automations.shop_id = :shop_id AND automations.key = :key
""")

READ_CUSTOMER = text("""
-- Returns the customer's orders in short, their stay in a segment, their tags, and their last
-- checkout with the order that came of it. Changes nothing. Primary keys, ix_orders__customer,
-- uq_segment_memberships__one_open, ix_checkouts__customer, ix_checkouts__email,
-- ix_orders__checkout_token, ix_orders__guest.
SELECT
    customers.email,
    customers.tags,
    coalesce(statistics.order_count, 0) AS order_count,
    first_order.order_id AS first_order_id,
    first_order.processed_at AS first_order_at,
    last_order.order_id AS last_order_id,
    last_order.processed_at AS last_order_at,
    stay.segment,
    stay.previous_segment,
    stay.entered_at,
    checkout.checkout_key,
    checkout.updated_at AS checkout_at,
    checkout.ordered_at
FROM raw_shopify.customers
LEFT JOIN raw_shopify.customer_statistics AS statistics
    ON
        customers.shop_id = statistics.shop_id
        AND customers.customer_id = statistics.customer_id
LEFT JOIN LATERAL (
    SELECT orders.order_id, orders.processed_at
    FROM raw_shopify.orders
    WHERE
        orders.shop_id = customers.shop_id
        AND orders.customer_id = customers.customer_id
        AND orders.is_counted
    ORDER BY orders.processed_at, orders.order_id
    LIMIT 1
) AS first_order ON true
LEFT JOIN LATERAL (
    SELECT orders.order_id, orders.processed_at
    FROM raw_shopify.orders
    WHERE
        orders.shop_id = customers.shop_id
        AND orders.customer_id = customers.customer_id
        AND orders.is_counted
    ORDER BY orders.processed_at DESC, orders.order_id DESC
    LIMIT 1
) AS last_order ON true
LEFT JOIN crm.segment_memberships AS stay
    ON
        customers.shop_id = stay.shop_id
        AND customers.customer_id = stay.customer_id
        AND stay.exited_at IS NULL
LEFT JOIN LATERAL (
    SELECT
        checkouts.checkout_key,
        checkouts.updated_at,
        least(
            checkouts.completed_at,
            (
                SELECT min(orders.processed_at)
                FROM raw_shopify.orders
                WHERE
                    orders.shop_id = checkouts.shop_id
                    AND orders.customer_id = customers.customer_id
                    AND orders.processed_at >= checkouts.updated_at
            ),
            (
                SELECT min(orders.processed_at)
                FROM raw_shopify.orders
                WHERE
                    orders.shop_id = checkouts.shop_id
                    AND orders.checkout_token IN (checkouts.token, checkouts.checkout_key)
            ),
            (
                SELECT min(orders.processed_at)
                FROM raw_shopify.orders
                WHERE
                    orders.shop_id = checkouts.shop_id
                    AND orders.customer_id IS NULL
                    AND orders.email IS NOT NULL
                    AND lower(btrim(orders.email)) = customers.email_normalized
                    AND orders.processed_at >= checkouts.updated_at
            )
        ) AS ordered_at
    FROM raw_shopify.checkouts
    WHERE
        checkouts.shop_id = customers.shop_id
        AND checkouts.deleted_at IS NULL
        AND (
            checkouts.customer_id = customers.customer_id
            OR (
                checkouts.customer_id IS NULL
                AND checkouts.email_normalized = customers.email_normalized
            )
        )
    ORDER BY checkouts.updated_at DESC, checkouts.checkout_key
    LIMIT 1
) AS checkout ON true
WHERE customers.shop_id = :shop_id AND customers.customer_id = :customer_id
""")

READ_ENROLMENTS = text("""
-- Returns how often the customer entered the flow, the latest first. Changes nothing.
-- Index ix_enrollments__customer.
SELECT
    enrollments.enrollment_id,
    enrollments.entry_key,
    enrollments.moment_at,
    enrollments.enrolled_at,
    enrollments.state,
    enrollments.exit_reason,
    enrollments.is_held_out,
    enrollments.is_test,
    enrollments.step_position,
    enrollments.due_at,
    enrollments.finished_at,
    versions.definition
FROM crm.enrollments
INNER JOIN crm.automation_versions AS versions
    ON
        enrollments.shop_id = versions.shop_id
        AND enrollments.automation_id = versions.automation_id
        AND coalesce(enrollments.step_version, enrollments.version) = versions.version
WHERE
    enrollments.shop_id = :shop_id
    AND enrollments.automation_id = :automation_id
    AND enrollments.customer_id = :customer_id
ORDER BY enrollments.enrolled_at DESC, enrollments.enrollment_id DESC
""")

READ_MAILS = text("""
-- Returns the mails of the flow to the customer, the latest first. Changes nothing.
-- Index ix_messages__customer.
SELECT
    messages.message_id,
    messages.enrollment_id,
    messages.state,
    messages.skip_reason,
    messages.defer_reason,
    messages.due_at,
    messages.sent_at,
    messages.frozen_at,
    messages.finished_at,
    messages.queued_at,
    messages.is_test
FROM crm.messages
WHERE
    messages.shop_id = :shop_id
    AND messages.automation_id = :automation_id
    AND messages.customer_id = :customer_id
ORDER BY messages.queued_at DESC, messages.message_id DESC
""")

READ_COUNTED = text("""
-- Returns the mails to the address that a cap looks at, the latest first. Changes nothing.
-- Index ix_messages__address.
SELECT
    messages.message_id,
    automations.key AS flow,
    messages.state,
    coalesce(messages.sent_at, messages.frozen_at) AS at
FROM crm.messages
INNER JOIN crm.automations
    ON
        messages.shop_id = automations.shop_id
        AND messages.automation_id = automations.automation_id
INNER JOIN crm.automation_versions AS versions
    ON
        automations.shop_id = versions.shop_id
        AND automations.automation_id = versions.automation_id
        AND automations.current_version = versions.version
WHERE
    messages.shop_id = :shop_id
    AND lower(btrim(messages.email)) = lower(btrim(CAST(:email AS text)))
    AND coalesce(messages.sent_at, messages.frozen_at) > :since
    AND messages.state NOT IN ('skipped', 'failed')
    AND NOT messages.is_test
    AND versions.definition #>> '{trigger,type}' <> 'consent_given'
ORDER BY at DESC, messages.message_id DESC
""")


@dataclass(frozen=True)
class Flow:
    """The automation as it is now, and what its shop says for all flows."""

    automation_id: int
    key: str
    name: str
    is_active: bool
    switched_on_at: datetime | None
    definition: Definition
    domain: str
    zone: ZoneInfo
    first_sync_started_at: datetime | None
    is_synced: bool
    has_baseline: bool
    knows_all_orders: bool
    doubts_orders: bool


@dataclass(frozen=True)
class Situation:
    """One customer beside one flow, at `now`. `row` is that of READ_CUSTOMER."""

    flow: Flow
    customer_id: int
    row: Row[Any]
    enrolments: Sequence[Row[Any]]
    now: datetime

    @property
    def definition(self) -> Definition:
        return self.flow.definition


def read_flow(session: Session, shop_id: int, key: str) -> Flow:
    """Raises PermanentError when the shop has no such flow."""
    row = session.execute(READ_FLOW, {"shop_id": shop_id, "key": key}).one_or_none()
    if row is None:
        raise PermanentError(f"This shop has no automation {key!r}.")
    hold = read_hold(session, shop_id)
    return Flow(
        automation_id=row.automation_id,
        key=row.key,
        name=row.name,
        is_active=row.is_active,
        switched_on_at=row.switched_on_at,
        definition=read_definition(row.definition),
        domain=row.domain,
        zone=zone_of(row.time_zone),
        first_sync_started_at=row.first_sync_started_at,
        is_synced=row.first_sync_completed_at is not None,
        has_baseline=row.baseline_at is not None,
        knows_all_orders="read_all_orders" in row.access_scopes or not row.access_scopes,
        doubts_orders=hold is not None and hold.doubts_orders,
    )


def read_situation(
    session: Session, shop_id: int, flow: Flow, customer_id: int, *, now: datetime
) -> Situation:
    asked = {"shop_id": shop_id, "customer_id": customer_id}
    return Situation(
        flow=flow,
        customer_id=customer_id,
        row=session.execute(READ_CUSTOMER, asked).one(),
        enrolments=session.execute(
            READ_ENROLMENTS, {**asked, "automation_id": flow.automation_id}
        ).all(),
        now=now,
    )
