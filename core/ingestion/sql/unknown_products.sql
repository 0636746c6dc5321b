-- Products that lines name and that we do not know, nor have asked for: what Shopify does not show
-- is not asked for with every order anew.
-- Returns: requests for them. Changes nothing.
-- Index: pk_products, pk_refresh_requests.
SELECT 'Product' AS object_type, named.product_id AS object_id, 'product unknown' AS reason
FROM unnest(CAST(:product_ids AS bigint [])) AS named (product_id)
WHERE (
        SELECT stored.product_id
        FROM raw_shopify.products AS stored
        WHERE stored.shop_id = :shop_id
            AND stored.product_id = named.product_id
    ) IS NULL
    AND (
        SELECT waiting.object_id
        FROM raw_shopify.refresh_requests AS waiting
        WHERE waiting.shop_id = :shop_id
            AND waiting.object_type = 'Product'
            AND waiting.object_id = named.product_id
    ) IS NULL
