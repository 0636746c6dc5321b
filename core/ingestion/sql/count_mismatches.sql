-- Returns: how many customers' stored statistics differ from their orders, rows that are missing
-- included. Changes nothing. Reads all counted orders of the shop.
SELECT count(*)
FROM (
    SELECT
        orders.customer_id,
        count(*) AS order_count,
        coalesce(sum(orders.current_total) FILTER (WHERE orders.currency = shop.currency), 0)
            AS total_spent,
        min(orders.processed_at) AS first_order_at,
        max(orders.processed_at) AS last_order_at,
        count(*) FILTER (WHERE orders.currency <> shop.currency) AS foreign_currency_order_count
    FROM raw_shopify.orders AS orders
    INNER JOIN crm.shops AS shop
        ON orders.shop_id = shop.shop_id
    WHERE orders.shop_id = :shop_id
        AND orders.customer_id IS NOT NULL
        AND orders.is_counted
    GROUP BY orders.customer_id
) AS fresh
FULL JOIN (
    SELECT * FROM raw_shopify.customer_statistics AS rows WHERE rows.shop_id = :shop_id
) AS stored
    ON fresh.customer_id = stored.customer_id
WHERE (
        coalesce(stored.order_count, -1), stored.total_spent, stored.first_order_at,
        stored.last_order_at, stored.foreign_currency_order_count
    ) IS DISTINCT FROM (
        coalesce(fresh.order_count, 0), coalesce(fresh.total_spent, 0), fresh.first_order_at,
        fresh.last_order_at, coalesce(fresh.foreign_currency_order_count, 0)
    )
