-- A webhook on its arrival.
-- Returns: one row when it is new, none when its id has come before (then nothing changes; waits
-- for another transaction that is storing the same id).
-- Changes: raw_shopify.webhook_inbox.
-- Index: pk_webhook_inbox.
INSERT INTO raw_shopify.webhook_inbox (
    shop_id, webhook_id, topic, event_id, triggered_at, api_version, body, state
)
VALUES (
    :shop_id, :webhook_id, :topic, :event_id, :triggered_at, :api_version, :body, 'received'
)
ON CONFLICT (shop_id, webhook_id) DO NOTHING
RETURNING webhook_id
