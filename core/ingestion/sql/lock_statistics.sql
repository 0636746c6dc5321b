-- Locks the statistics rows of all touched customers, in id order, until the transaction ends.
-- Returns: how many. Changes nothing.
-- Index: pk_customer_statistics.
WITH locked AS (
    SELECT stored.customer_id
    FROM raw_shopify.customer_statistics AS stored
    INNER JOIN $touched$
        ON stored.customer_id = touched.customer_id
    WHERE stored.shop_id = :shop_id
    ORDER BY stored.customer_id
    FOR UPDATE OF stored
)

SELECT count(*) FROM locked
