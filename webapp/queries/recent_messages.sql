-- At most :limit messages, newest first, with the customer and the flow behind each.
-- Counts on ix_messages__recent and the primary keys.
SELECT
    messages.message_id,
    messages.state,
    messages.skip_reason,
    messages.defer_reason,
    messages.failure,
    messages.email,
    messages.subject,
    messages.is_test,
    messages.queued_at,
    messages.due_at,
    messages.sent_at,
    messages.delivered_at,
    messages.finished_at,
    customers.first_name,
    customers.last_name,
    automations.name AS flow
FROM crm.messages
LEFT JOIN raw_shopify.customers
    ON
        customers.shop_id = messages.shop_id
        AND customers.customer_id = messages.customer_id
LEFT JOIN crm.automations
    ON
        automations.shop_id = messages.shop_id
        AND automations.automation_id = messages.automation_id
WHERE messages.shop_id = :shop_id
ORDER BY messages.queued_at DESC, messages.message_id DESC
LIMIT :limit
