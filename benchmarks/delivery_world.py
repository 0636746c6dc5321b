"""A made-up shop that owes a welcome mail to each of many customers."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.presets import WELCOME, seed_presets
from activation.automation.switching import switch_on
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import Automation, Shop

FIRST_CUSTOMER = 7_000_000_000

ADD_CUSTOMERS = text("""
-- Changes raw_shopify.customers: subscribed, each with a name and an address of their own.
INSERT INTO raw_shopify.customers (
    shop_id, customer_id, email, first_name, consent_state, consent_updated_at, created_at,
    updated_at
)
SELECT
    :shop_id, :first + n, 'c' || n || '@example.com',
    (ARRAY['Anna', 'José', 'Мария', 'Li', 'Fatima', 'O''Neil', ''])[1 + n % 7],
    'SUBSCRIBED', CAST(:now AS timestamptz) - interval '1 day', :now, :now
FROM generate_series(1, :count) AS n
""")

ADD_ORDERS = text("""
-- Changes raw_shopify.orders: one for each customer.
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, created_at, updated_at, processed_at, is_test,
    financial_status, currency, current_total, original_total, refunded_total
)
SELECT
    :shop_id, :first + n, '#' || n, :first + n, :now, :now, :now, false,
    'PAID', 'EUR', 74.85, 74.85, 0
FROM generate_series(1, :count) AS n
""")

ADD_LINES = text("""
-- Changes raw_shopify.order_lines: two for each order.
INSERT INTO raw_shopify.order_lines (
    shop_id, line_id, order_id, title, variant_title, quantity, current_quantity, unit_price,
    currency
)
SELECT
    :shop_id, 2 * (:first + n) + line, :first + n,
    (ARRAY['Becher Fjord', 'Teller Düne & Meer'])[1 + line],
    (ARRAY['Blau', NULL])[1 + line], 1 + line, 1 + line, 24.95, 'EUR'
FROM generate_series(1, :count) AS n
CROSS JOIN generate_series(0, 1) AS line
""")

ADD_ENROLLMENTS = text("""
-- Changes crm.enrollments: everybody has come to the mail.
INSERT INTO crm.enrollments (
    shop_id, automation_id, version, customer_id, entry_key, moment_at, order_id, state,
    step_position, enrolled_at, finished_at
)
SELECT
    :shop_id, :automation_id, :version, :first + n, 'first', :now, :first + n, 'completed',
    2, :now, :now
FROM generate_series(1, :count) AS n
""")

# Whatever the table holds besides, a message enters the queue as the due step writes it.
ADD_MESSAGES = text("""
-- Returns nothing. Changes crm.messages: one in the queue for each enrolment.
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, enrollment_id, customer_id, email,
    state, due_at, expires_at, queued_at
)
SELECT
    enrollments.shop_id,
    'welcome/welcome_email/' || enrollments.customer_id || '/first',
    enrollments.automation_id,
    enrollments.version,
    'welcome_email',
    enrollments.enrollment_id,
    enrollments.customer_id,
    customers.email,
    'queued',
    :now,
    CAST(:now AS timestamptz) + interval '3 days',
    :now
FROM crm.enrollments
INNER JOIN raw_shopify.customers
    ON
        enrollments.shop_id = customers.shop_id
        AND enrollments.customer_id = customers.customer_id
WHERE enrollments.shop_id = :shop_id
ORDER BY enrollments.enrollment_id
""")


def a_shop_that_owes(factory: SessionFactory, count: int, *, number: int = 1) -> int:
    """A new shop with `count` messages in its queue, known to the planner; returns its id."""
    now = SystemClock().now()
    with session_scope(factory) as session:
        shop_id = add_shop(session, now=now, number=number)
        owe_welcomes(session, shop_id, count=count, now=now)
    with session_scope(factory) as session:
        session.execute(text("ANALYZE"))
    return shop_id


def add_shop(session: Session, *, now: datetime, number: int = 1) -> int:
    """A shop that may send, with the welcome flow on; returns its id."""
    shop = Shop(
        domain=f"deliveries-{number}.myshopify.com",
        name="Nordlicht Keramik",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="x",  # noqa: S106 - none
        sender_name="Nordlicht Keramik",
        sender_address="hello@mail.example.com",
        reply_to="shop@example.com",
        postal_address="Nordlicht Keramik GmbH\nLange Reihe 12\n20099 Hamburg",
        first_sync_started_at=now - timedelta(hours=2),
        first_sync_completed_at=now - timedelta(hours=1),
        baseline_at=now - timedelta(hours=1),
    )
    session.add(shop)
    session.flush()
    seed_presets(session, shop.shop_id, now=now)
    switch_on(session, shop.shop_id, WELCOME, now=now)
    return shop.shop_id


def owe_welcomes(session: Session, shop_id: int, *, count: int, now: datetime) -> None:
    """`count` customers, each with an order, an enrolment and a message that is due."""
    flow = session.query(Automation).filter_by(shop_id=shop_id, key=WELCOME).one()
    values = {
        "shop_id": shop_id,
        "count": count,
        "first": FIRST_CUSTOMER,
        "now": now,
        "automation_id": flow.automation_id,
        "version": flow.current_version,
    }
    for statement in (ADD_CUSTOMERS, ADD_ORDERS, ADD_LINES, ADD_ENROLLMENTS, ADD_MESSAGES):
        session.execute(statement, values)
