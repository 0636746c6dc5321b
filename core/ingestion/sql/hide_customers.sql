-- Customers who are gone from Shopify, or will be: hidden and never mailed. One we do not know yet
-- gets a row that stays hidden, for the webhook of its creation may come later.
-- Changes: raw_shopify.customers.
-- Index: pk_customers.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, created_at, updated_at, deleted_at, merged_into
)
SELECT
    :shop_id, gone.customer_id, CAST(:long_ago AS timestamptz), CAST(:long_ago AS timestamptz),
    gone.gone_at,
    CAST(:merged_into AS bigint)
FROM unnest(CAST(:customer_ids AS bigint []), CAST(:gone_at AS timestamptz []))
    AS gone (customer_id, gone_at)
ORDER BY gone.customer_id
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    deleted_at = least(stored.deleted_at, excluded.deleted_at),
    merged_into = coalesce(excluded.merged_into, stored.merged_into),
    loaded_at = clock_timestamp()
WHERE (stored.deleted_at, stored.merged_into) IS DISTINCT FROM (
    least(stored.deleted_at, excluded.deleted_at),
    coalesce(excluded.merged_into, stored.merged_into)
)
