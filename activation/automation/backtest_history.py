"""What was known of customers at a past instant, read once for all of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.automation.holdout import TEST_TAG
from core.ingestion.screen import Screen
from core.models.enums import ConsentStanding, ConsentState

READ_PEOPLE = text("""
-- Returns the customers as they are. Changes nothing. Primary key.
SELECT
    customer_id,
    email,
    email_normalized,
    has_valid_email,
    consent_state,
    consent_updated_at,
    deleted_at,
    EXISTS (
        SELECT 1 FROM unnest(tags) AS told (tag) WHERE lower(told.tag) = :test_tag
    ) AS is_for_tests
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:customer_ids AS bigint []))
""")

READ_CONSENTS = text("""
-- Returns what is on record of these customers' permission for all marketing mail, in the order it
-- happened. Changes nothing. Index ix_consent_events__customer.
SELECT customer_id, occurred_at, state_before, state_after
FROM crm.consent_events
WHERE
    shop_id = :shop_id
    AND automation_id IS NULL
    AND customer_id = ANY(CAST(:customer_ids AS bigint []))
ORDER BY customer_id, occurred_at, consent_event_id
""")

READ_SUPPRESSIONS = text("""
-- Returns since when and until when these addresses were suppressed. Changes nothing. Primary key.
SELECT email_normalized, reason, suppressed_at, lifted_at
FROM crm.suppressions
WHERE shop_id = :shop_id AND email_normalized = ANY(CAST(:emails AS text []))
""")

READ_OPT_OUTS = text("""
-- Returns since when and until when these addresses wanted no mail of the flow. Changes nothing.
-- Primary key.
SELECT opt_outs.email_normalized, opt_outs.opted_out_at, opt_outs.lifted_at
FROM crm.opt_outs
INNER JOIN crm.automations
    ON
        opt_outs.shop_id = automations.shop_id
        AND opt_outs.automation_id = automations.automation_id
WHERE
    opt_outs.shop_id = :shop_id
    AND automations.key = :key
    AND opt_outs.email_normalized = ANY(CAST(:emails AS text []))
""")

READ_OTHER_MAILS = text("""
-- Returns when mails of other flows left to these addresses. Changes nothing.
-- Index ix_messages__address.
SELECT
    lower(btrim(messages.email)) AS email_normalized,
    coalesce(messages.sent_at, messages.frozen_at) AS at,
    messages.priority
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
    AND automations.key <> :key
    AND lower(btrim(messages.email)) = ANY(CAST(:emails AS text []))
    AND coalesce(messages.sent_at, messages.frozen_at) > :since
    AND coalesce(messages.sent_at, messages.frozen_at) < :until
    AND messages.state NOT IN ('skipped', 'failed')
    AND NOT messages.is_test
    AND versions.definition #>> '{trigger,type}' <> 'consent_given'
""")

READ_STAYS = text("""
-- Returns the stays of these customers in segments. Changes nothing.
-- Index ix_segment_memberships__customer.
SELECT customer_id, segment, entered_at, exited_at
FROM crm.segment_memberships
WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:customer_ids AS bigint []))
""")

READ_ORDERS = text("""
-- Returns the orders of these customers and, as guests, of their addresses, with when they stopped
-- counting. Changes nothing. Indexes ix_orders__customer, ix_orders__guest, ix_refunds__order.
SELECT
    orders.order_id,
    coalesce(orders.customer_id, customers.customer_id) AS customer_id,
    orders.customer_id IS NULL AS is_guest,
    orders.processed_at,
    orders.current_total,
    orders.is_counted,
    orders.is_test,
    orders.cancelled_at,
    (
        SELECT max(refunds.processed_at)
        FROM raw_shopify.refunds
        WHERE refunds.shop_id = orders.shop_id AND refunds.order_id = orders.order_id
    ) AS refunded_at
FROM raw_shopify.customers
INNER JOIN raw_shopify.orders
    ON
        customers.shop_id = orders.shop_id
        AND (
            orders.customer_id = customers.customer_id
            OR (
                orders.customer_id IS NULL
                AND orders.email IS NOT NULL
                AND lower(btrim(orders.email)) = customers.email_normalized
            )
        )
WHERE
    customers.shop_id = :shop_id
    AND customers.customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND orders.processed_at < :until
ORDER BY orders.processed_at, orders.order_id
""")

OURS: Final = "unsubscribed"  # the suppression that a later consent at the shop outweighs


@dataclass
class History:
    """Of the people of one backtest. Lists are in the order of time."""

    people: dict[int, Row[Any]] = field(default_factory=dict)
    consents: dict[int, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    suppressions: dict[str, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    opt_outs: dict[str, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    mails: dict[str, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    stays: dict[int, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    orders: dict[int, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    screen: Screen | None = None

    def is_erased(self, customer_id: int, email: str | None) -> bool:
        return self.screen is not None and (
            self.screen.is_erased_customer(customer_id) or self.screen.is_erased_email(email)
        )

    def existed(self, customer_id: int, at: datetime) -> bool:
        person = self.people.get(customer_id)
        return person is not None and (person.deleted_at is None or person.deleted_at > at)

    def consent(
        self, customer_id: int, at: datetime
    ) -> tuple[ConsentState | None, datetime | None]:
        """The permission then and since when; as it is now where nothing is on record."""
        person, events = self.people[customer_id], self.consents.get(customer_id, [])
        before = [each for each in events if each.occurred_at <= at]
        if before:
            return _state(before[-1].state_after), before[-1].occurred_at
        if events and events[0].state_before is not None:
            return _state(events[0].state_before), None
        state = None if person.consent_state is None else ConsentState(person.consent_state)
        return state, person.consent_updated_at

    def is_suppressed(self, email: str | None, at: datetime) -> bool:
        return any(
            each.reason != OURS and _held(each.suppressed_at, each.lifted_at, at)
            for each in self.suppressions.get(email or "", ())
        )

    def unsubscribed_at(self, email: str | None, at: datetime) -> datetime | None:
        held = (
            each.suppressed_at
            for each in self.suppressions.get(email or "", ())
            if each.reason == OURS and _held(each.suppressed_at, each.lifted_at, at)
        )
        return max(held, default=None)

    def has_opted_out(self, email: str | None, at: datetime) -> bool:
        return any(
            _held(each.opted_out_at, each.lifted_at, at)
            for each in self.opt_outs.get(email or "", ())
        )

    def segment(self, customer_id: int, at: datetime) -> str | None:
        return next(
            (
                each.segment
                for each in self.stays.get(customer_id, ())
                if _held(each.entered_at, each.exited_at, at)
            ),
            None,
        )

    def order_counts(self, customer_id: int, order_id: int, at: datetime) -> bool:
        return any(
            each.order_id == order_id and counted_at(each, at)
            for each in self.orders.get(customer_id, ())
        )

    def has_ordered(
        self, customer_id: int, since: datetime, at: datetime, *, guests: bool, other: int | None
    ) -> bool:
        """Whether another order that counts was placed from `since` on, up to `at`."""
        return any(
            since <= each.processed_at <= at
            and each.order_id != other
            and (guests or not each.is_guest)
            and counted_at(each, at)
            for each in self.orders.get(customer_id, ())
        )

    def followed(
        self, customer_id: int, sent_at: datetime, window: timedelta
    ) -> list[tuple[int, Decimal]]:
        """The orders that count now and were placed within the window."""
        return [
            (each.order_id, each.current_total)
            for each in self.orders.get(customer_id, ())
            if each.is_counted and sent_at < each.processed_at <= sent_at + window
        ]


def counted_at(order: Row[Any], at: datetime) -> bool:
    """Whether it counted then: it counts now, or what ended that came later."""
    if order.is_test or (order.cancelled_at is not None and order.cancelled_at <= at):
        return False
    return bool(
        order.is_counted
        or order.cancelled_at is not None
        or (order.refunded_at is not None and order.refunded_at > at)
    )


def read_history(
    session: Session,
    shop_id: int,
    key: str,
    customer_ids: Sequence[int],
    *,
    secret_key: SecretStr,
    since: datetime,
    until: datetime,
) -> History:
    """`since` and `until`: of the mails and orders that may matter."""
    history = History()
    asked: dict[str, Any] = {"shop_id": shop_id, "customer_ids": list(customer_ids)}
    for row in session.execute(READ_PEOPLE, {**asked, "test_tag": TEST_TAG}):
        history.people[row.customer_id] = row
    emails = sorted({r.email_normalized for r in history.people.values() if r.email_normalized})
    addressed: dict[str, Any] = {"shop_id": shop_id, "emails": emails}
    for row in session.execute(READ_CONSENTS, asked):
        history.consents[row.customer_id].append(row)
    for row in session.execute(READ_SUPPRESSIONS, addressed):
        history.suppressions[row.email_normalized].append(row)
    for row in session.execute(READ_OPT_OUTS, {**addressed, "key": key}):
        history.opt_outs[row.email_normalized].append(row)
    period = {"since": since, "until": until}
    for row in session.execute(READ_OTHER_MAILS, {**addressed, **period, "key": key}):
        history.mails[row.email_normalized].append(row)
    for row in session.execute(READ_STAYS, asked):
        history.stays[row.customer_id].append(row)
    for row in session.execute(READ_ORDERS, {**asked, "until": until}):
        history.orders[row.customer_id].append(row)
    history.screen = Screen.load_for(
        session, shop_id, secret_key, customer_ids=customer_ids, emails=emails
    )
    return history


def _held(since: datetime, until: datetime | None, at: datetime) -> bool:
    return since <= at and (until is None or until > at)


def _state(standing: str) -> ConsentState | None:
    """What the checks know of it; a suppressed address is told by its suppression."""
    if standing == ConsentStanding.SUPPRESSED:
        return ConsentState.UNSUBSCRIBED
    return ConsentState(standing)
