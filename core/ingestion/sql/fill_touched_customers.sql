-- Every customer whose statistics the staged orders can move, kept: the one each order names and the
-- one a known order leaves.
-- Changes: touched_customers, which must exist. Locks the stored orders that fulfil $locked$, in id
-- order: nobody can move one of them to yet another customer, or write its lines, before we commit.
-- Index: pk_orders.
WITH leaving AS (
    SELECT stored.customer_id
    FROM raw_shopify.orders AS stored
    INNER JOIN $orders$
        ON stored.order_id = staged.order_id
    WHERE stored.shop_id = :shop_id
        AND $locked$
    ORDER BY stored.order_id
    FOR UPDATE OF stored
)

INSERT INTO touched_customers (customer_id)
SELECT staged.customer_id
FROM $orders$
WHERE staged.customer_id IS NOT NULL
UNION
SELECT leaving.customer_id
FROM leaving
WHERE leaving.customer_id IS NOT NULL
ORDER BY customer_id
