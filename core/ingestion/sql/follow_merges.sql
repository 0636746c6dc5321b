-- Staged rows that name a customer whom Shopify merged away name the one who was kept, also over
-- several merges in a row.
-- Changes: the staging table. Reads all merges of the shop, which are few.
-- Index: pk_customer_merges.
WITH RECURSIVE followed AS (
    SELECT
        merges.deleted_customer_id AS gone_id,
        merges.kept_customer_id AS kept_id,
        1 AS steps
    FROM raw_shopify.customer_merges AS merges
    WHERE merges.shop_id = :shop_id
    UNION ALL
    SELECT followed.gone_id, merges.kept_customer_id, followed.steps + 1
    FROM followed
    INNER JOIN raw_shopify.customer_merges AS merges
        ON merges.shop_id = :shop_id
            AND merges.deleted_customer_id = followed.kept_id
    WHERE followed.steps < 50
),

survivors AS (
    SELECT DISTINCT ON (followed.gone_id) followed.gone_id, followed.kept_id
    FROM followed
    ORDER BY followed.gone_id, followed.steps DESC
)

UPDATE $staged$ SET customer_id = survivors.kept_id
FROM survivors
WHERE staged.customer_id = survivors.gone_id
