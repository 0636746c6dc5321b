-- Asks for products that lines name and that we do not know, due at once.
-- Changes: raw_shopify.refresh_requests.
-- Index: pk_refresh_requests.
INSERT INTO raw_shopify.refresh_requests (
    shop_id, object_type, object_id, reason, requested_at, next_attempt_at
)
SELECT DISTINCT
    :shop_id, asked.object_type, asked.object_id, asked.reason, :at, clock_timestamp()
FROM (
    $unknown$
) AS asked
ORDER BY asked.object_id
ON CONFLICT (shop_id, object_type, object_id) DO NOTHING
