-- Takes up to :limit due refresh requests for :lease_seconds; a worker that dies gives them back
-- that way.
-- Returns: the requests. Changes: raw_shopify.refresh_requests (attempts, next_attempt_at).
-- Real time, not business time: a lease is about workers.
-- Index: ix_refresh_requests__due.
UPDATE raw_shopify.refresh_requests AS stored SET
    attempts = stored.attempts + 1,
    next_attempt_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM (
    SELECT due.shop_id, due.object_type, due.object_id
    FROM raw_shopify.refresh_requests AS due
    WHERE due.next_attempt_at <= clock_timestamp()
    ORDER BY due.next_attempt_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS claimed
WHERE stored.shop_id = claimed.shop_id
    AND stored.object_type = claimed.object_type
    AND stored.object_id = claimed.object_id
RETURNING
    stored.shop_id, stored.object_type, stored.object_id, stored.requested_at, stored.attempts
