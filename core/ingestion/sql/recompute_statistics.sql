-- The statistics of all touched customers from their counted orders, where they differ.
-- Must run in a statement of its own after lock_statistics: its snapshot then holds every order
-- that another transaction committed before it let go of the lock.
-- Changes: raw_shopify.customer_statistics, and a row of raw_shopify.customer_touches for each of
-- its rows that changed.
-- Index: ix_orders__customer, pk_customer_statistics.
WITH moved AS (
    UPDATE raw_shopify.customer_statistics AS stored SET
        order_count = fresh.order_count,
        total_spent = fresh.total_spent,
        first_order_at = fresh.first_order_at,
        last_order_at = fresh.last_order_at,
        foreign_currency_order_count = fresh.foreign_currency_order_count
    FROM (
        SELECT
            touched.customer_id,
            count(orders.order_id) AS order_count,
            coalesce(sum(orders.current_total) FILTER (WHERE orders.currency = shop.currency), 0)
                AS total_spent,
            min(orders.processed_at) AS first_order_at,
            max(orders.processed_at) AS last_order_at,
            count(orders.order_id) FILTER (WHERE orders.currency <> shop.currency)
                AS foreign_currency_order_count
        FROM $touched$
        CROSS JOIN (
            SELECT shops.currency FROM crm.shops AS shops WHERE shops.shop_id = :shop_id
        ) AS shop
        LEFT JOIN raw_shopify.orders AS orders
            ON orders.shop_id = :shop_id
                AND orders.customer_id = touched.customer_id
                AND orders.is_counted
        GROUP BY touched.customer_id
    ) AS fresh
    WHERE stored.shop_id = :shop_id
        AND stored.customer_id = fresh.customer_id
        AND (
            stored.order_count, stored.total_spent, stored.first_order_at, stored.last_order_at,
            stored.foreign_currency_order_count
        ) IS DISTINCT FROM (
            fresh.order_count, fresh.total_spent, fresh.first_order_at, fresh.last_order_at,
            fresh.foreign_currency_order_count
        )
    RETURNING stored.customer_id
)

INSERT INTO raw_shopify.customer_touches (shop_id, customer_id, touched_at)
SELECT :shop_id, moved.customer_id, :touched_at
FROM moved
