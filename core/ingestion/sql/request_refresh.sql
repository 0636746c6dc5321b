-- Asks for objects to be read from Shopify; due at once, also when it had been given up.
-- Changes: raw_shopify.refresh_requests. `requested_at` always moves, so that a read which began
-- before does not pass for an answer.
-- Index: pk_refresh_requests.
INSERT INTO raw_shopify.refresh_requests AS stored (
    shop_id, object_type, object_id, reason, requested_at, next_attempt_at
)
SELECT :shop_id, :object_type, wanted.object_id, :reason, :at, clock_timestamp()
FROM (SELECT DISTINCT unnest(CAST(:object_ids AS bigint [])) AS object_id) AS wanted
ORDER BY wanted.object_id
ON CONFLICT (shop_id, object_type, object_id) DO UPDATE SET
    requested_at = greatest(excluded.requested_at, stored.requested_at + interval '1 microsecond'),
    reason = excluded.reason,
    attempts = 0,
    next_attempt_at = excluded.next_attempt_at,
    error = NULL
