-- Products that lines name and that we do not know.
-- Changes: raw_shopify.refresh_requests gains a request each, due at once. One that was asked for
-- before is left alone: what Shopify does not show is not asked for with every order anew.
-- Index: pk_products, pk_refresh_requests.
INSERT INTO raw_shopify.refresh_requests (
    shop_id, object_type, object_id, reason, requested_at, next_attempt_at
)
SELECT :shop_id, 'Product', named.product_id, 'product unknown', :at, clock_timestamp()
FROM (SELECT DISTINCT unnest(CAST(:product_ids AS bigint [])) AS product_id) AS named
WHERE NOT EXISTS (
    SELECT 1
    FROM raw_shopify.products AS stored
    WHERE stored.shop_id = :shop_id
        AND stored.product_id = named.product_id
)
    AND (
        SELECT asked.object_id
        FROM raw_shopify.refresh_requests AS asked
        WHERE asked.shop_id = :shop_id
            AND asked.object_type = 'Product'
            AND asked.object_id = named.product_id
    ) IS NULL
ORDER BY named.product_id
ON CONFLICT (shop_id, object_type, object_id) DO NOTHING
