"""The statements of a dry run. None changes anything."""

from sqlalchemy import text

READ_DUE = text("""
-- Returns who is in the flow with a step due. Changes nothing. Index ix_enrollments__due.
SELECT enrollment_id, customer_id, order_id, is_held_out, due_at
FROM crm.enrollments
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND state = 'active'
    AND due_at <= :now
    AND NOT is_test
ORDER BY due_at, enrollment_id
""")

READ_QUEUED = text("""
-- Returns mails of the flow that are due and have not left. Changes nothing.
-- Index ix_messages__queue.
SELECT
    messages.message_id,
    messages.customer_id,
    messages.expires_at,
    messages.due_at,
    messages.priority,
    messages.enrollment_id,
    enrollments.order_id
FROM crm.messages
LEFT JOIN crm.enrollments
    ON
        messages.shop_id = enrollments.shop_id
        AND messages.enrollment_id = enrollments.enrollment_id
WHERE
    messages.shop_id = :shop_id
    AND messages.automation_id = :automation_id
    AND messages.state = 'queued'
    AND messages.due_at <= :now
    AND NOT messages.is_test
ORDER BY messages.due_at, messages.message_id
""")

READ_SAMPLES = text("""
-- Returns the addresses of these customers. Changes nothing. Primary key.
SELECT customer_id, email
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:customer_ids AS bigint []))
""")
