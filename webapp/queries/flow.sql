-- At most one row: a shop's flow with this key, who waits in it, and its messages since :since.
-- Counts on ix_messages__recent; enrolments by their unique key.
SELECT
    automations.name,
    automations.is_active,
    automations.switched_on_at,
    (
        SELECT count(*)
        FROM crm.enrollments
        WHERE
            enrollments.shop_id = automations.shop_id
            AND enrollments.automation_id = automations.automation_id
            AND enrollments.state = 'active'
    ) AS waiting,
    sends.sent,
    sends.skipped
FROM crm.automations
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE messages.sent_at IS NOT NULL) AS sent,
        count(*) FILTER (WHERE messages.state = 'skipped') AS skipped
    FROM crm.messages
    WHERE
        messages.shop_id = automations.shop_id
        AND messages.automation_id = automations.automation_id
        AND messages.queued_at >= :since
        AND NOT messages.is_test
) AS sends
WHERE automations.shop_id = :shop_id AND automations.key = :key
