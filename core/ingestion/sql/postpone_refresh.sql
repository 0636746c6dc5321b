-- A request that got no answer: due again in :seconds, or given up (NULL). One that was made anew
-- meanwhile stays due.
-- Changes: raw_shopify.refresh_requests.
-- Index: pk_refresh_requests.
UPDATE raw_shopify.refresh_requests SET
    error = :error,
    next_attempt_at = clock_timestamp()
    + make_interval(secs => CAST(:seconds AS double precision))
WHERE shop_id = :shop_id
    AND object_type = :object_type
    AND object_id = :object_id
    AND requested_at = :requested_at
