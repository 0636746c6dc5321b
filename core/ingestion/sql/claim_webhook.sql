-- The webhook whose next attempt has been due longest, locked until the transaction ends.
-- Returns: none or one row. Changes nothing. Those another worker holds are passed over.
-- Index: ix_webhook_inbox__due.
SELECT shop_id, webhook_id, topic, body, triggered_at, attempts
FROM raw_shopify.webhook_inbox
WHERE state IN ('received', 'failed')
    AND next_attempt_at <= clock_timestamp()
ORDER BY next_attempt_at
LIMIT 1
FOR UPDATE SKIP LOCKED
