-- What became of a webhook after an attempt; :seconds NULL: no further attempt.
-- Changes: raw_shopify.webhook_inbox.
-- Index: pk_webhook_inbox.
UPDATE raw_shopify.webhook_inbox SET
    state = :state,
    error = :error,
    attempts = :attempts,
    next_attempt_at = clock_timestamp()
    + make_interval(secs => CAST(:seconds AS double precision)),
    applied_at = CAST(:applied_at AS timestamptz)
WHERE shop_id = :shop_id
    AND webhook_id = :webhook_id
