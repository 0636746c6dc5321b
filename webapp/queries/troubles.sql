-- One row: what needs a person, counted, and when Shopify's data was last complete.
-- The inbox is read over its newest :since only (ix_webhook_inbox__received), messages over theirs
-- (ix_messages__recent).
SELECT
    (
        SELECT max(sync_runs.finished_at)
        FROM raw_shopify.sync_runs
        WHERE
            sync_runs.shop_id = :shop_id
            AND sync_runs.state = 'completed'
            AND sync_runs.kind <> 'reconcile'
    ) AS synced_at,
    (
        SELECT count(*)
        FROM raw_shopify.webhook_inbox
        WHERE
            webhook_inbox.shop_id = :shop_id
            AND webhook_inbox.received_at >= :since
            AND webhook_inbox.state = 'failed'
    ) AS inbox_failed,
    (
        SELECT count(*)
        FROM crm.messages
        WHERE
            messages.shop_id = :shop_id
            AND messages.queued_at >= :since
            AND messages.state = 'unknown'
    ) AS messages_unknown,
    (
        SELECT send_paces.paused_reason
        FROM crm.send_paces
        WHERE send_paces.shop_id = :shop_id AND send_paces.paused_until > :real_now
    ) AS paused_reason,
    EXISTS (
        SELECT 1
        FROM crm.sending_holds
        WHERE sending_holds.shop_id = :shop_id AND sending_holds.resumed_at IS NULL
    ) AS stopped_itself
