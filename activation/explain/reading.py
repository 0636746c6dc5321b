"""The statements an explanation of a mail is read by. None changes anything."""

from sqlalchemy import text

READ_MESSAGE = text("""
-- Returns the message with its flow, the version it was made by, its enrolment and its batch.
-- Changes nothing. Primary keys.
SELECT
    messages.message_id,
    messages.state,
    messages.skip_reason,
    messages.defer_reason,
    messages.waited_for,
    messages.failure,
    messages.bounce_kind,
    messages.is_test,
    messages.customer_id,
    messages.email,
    messages.subject,
    messages.dedupe_key,
    messages.step_key,
    messages.version,
    messages.priority,
    messages.due_at,
    messages.expires_at,
    messages.queued_at,
    messages.frozen_at,
    messages.sent_at,
    messages.delivered_at,
    messages.finished_at,
    messages.run_id,
    messages.batch_id,
    messages.batch_position,
    automations.automation_id,
    automations.key AS automation_key,
    automations.name AS automation_name,
    automations.current_version,
    versions.definition,
    shops.time_zone,
    enrollments.enrollment_id,
    enrollments.version AS entered_version,
    enrollments.entry_key,
    enrollments.moment_at,
    enrollments.order_id,
    enrollments.checkout_key,
    enrollments.segment,
    enrollments.state AS enrollment_state,
    enrollments.exit_reason,
    enrollments.is_held_out,
    enrollments.run_id AS enrolled_run_id,
    enrollments.enrolled_at,
    batches.message_count,
    batches.state AS batch_state,
    batches.body_sha256,
    batches.frozen_at AS batch_frozen_at
FROM crm.messages
INNER JOIN crm.shops ON messages.shop_id = shops.shop_id
INNER JOIN crm.automations
    ON
        messages.shop_id = automations.shop_id
        AND messages.automation_id = automations.automation_id
INNER JOIN crm.automation_versions AS versions
    ON
        messages.shop_id = versions.shop_id
        AND messages.automation_id = versions.automation_id
        AND messages.version = versions.version
LEFT JOIN crm.enrollments
    ON
        messages.shop_id = enrollments.shop_id
        AND messages.enrollment_id = enrollments.enrollment_id
LEFT JOIN crm.message_batches AS batches
    ON messages.shop_id = batches.shop_id AND messages.batch_id = batches.batch_id
WHERE messages.shop_id = :shop_id AND messages.message_id = :message_id
""")

READ_ORDERS = text("""
-- Returns the customer's orders up to an instant, the latest first, and the one that started it
-- wherever it is now. Changes nothing. Indexes ix_orders__customer, pk_orders.
SELECT
    orders.order_id,
    orders.name,
    orders.processed_at,
    orders.current_total,
    orders.currency,
    orders.is_counted,
    orders.order_id IS NOT DISTINCT FROM CAST(:order_id AS bigint) AS started_it
FROM raw_shopify.orders
WHERE
    orders.shop_id = :shop_id
    AND (
        orders.order_id = CAST(:order_id AS bigint)
        OR (orders.customer_id = :customer_id AND orders.processed_at <= :until)
    )
ORDER BY orders.processed_at DESC, orders.order_id DESC
LIMIT :limit
""")

READ_CHECKOUT = text("""
-- Returns the checkout as it is now. Changes nothing. Primary key.
SELECT
    checkout_key,
    updated_at,
    completed_at,
    total,
    currency,
    jsonb_array_length(line_items) AS items
FROM raw_shopify.checkouts
WHERE shop_id = :shop_id AND checkout_key = :checkout_key
""")

READ_ATTEMPTS = text("""
-- Returns the requests made with one batch, in order. Changes nothing. Primary key.
SELECT attempt, started_at, finished_at, outcome, status_code, error, run_id
FROM crm.delivery_attempts
WHERE shop_id = :shop_id AND batch_id = :batch_id
ORDER BY attempt
""")

READ_EVENTS = text("""
-- Returns what the provider told of one message, in the order it happened. Changes nothing.
-- Index ix_delivery_events__message.
SELECT event_type, occurred_at, received_at, state
FROM crm.delivery_events
WHERE shop_id = :shop_id AND message_id = :message_id
ORDER BY occurred_at, received_at, event_id
""")

READ_ENGAGEMENTS = text("""
-- Returns the opens and clicks of one message, in order. Changes nothing. Primary key.
SELECT kind, source, engaged_at, url, is_bot, bot_reason
FROM crm.engagements
WHERE shop_id = :shop_id AND message_id = :message_id
ORDER BY engaged_at, engagement_key
""")

HAS_UNSUBSCRIBED = text("""
-- Returns whether an unsubscribe by a link of ours was in force for the address at an instant.
-- Changes nothing. Primary key.
SELECT EXISTS (
    SELECT 1
    FROM crm.suppressions
    WHERE
        shop_id = :shop_id
        AND email_normalized = lower(btrim(CAST(:email AS text)))
        AND reason = 'unsubscribed'
        AND suppressed_at <= :at
        AND (lifted_at IS NULL OR lifted_at > :at)
)
""")

HAS_TABLE = text("""
-- Returns whether dbt has built this table or view. Changes nothing.
SELECT to_regclass(:name) IS NOT NULL
""")
