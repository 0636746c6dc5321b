-- One row: customers, orders and revenue of a shop, all time, of the last 30 days and of the 30
-- before. Orders as everywhere: is_counted; sums only in the shop's currency, the rest is counted.
-- One scan each of the shop's customers and orders.
WITH people AS (
    SELECT
        count(*) AS customers,
        count(*) FILTER (WHERE customers.created_at >= :since) AS customers_recent,
        count(*) FILTER (
            WHERE customers.created_at >= :before AND customers.created_at < :since
        ) AS customers_before,
        count(*) FILTER (WHERE customer_statistics.order_count > 0) AS buyers,
        count(*) FILTER (WHERE customer_statistics.first_order_at >= :since) AS buyers_recent,
        count(*) FILTER (
            WHERE
                customer_statistics.first_order_at >= :before
                AND customer_statistics.first_order_at < :since
        ) AS buyers_before,
        count(*) FILTER (
            WHERE
                customers.consent_state = 'SUBSCRIBED'
                AND NOT EXISTS (
                    SELECT
                    FROM crm.suppressions
                    WHERE
                        suppressions.shop_id = customers.shop_id
                        AND suppressions.email_normalized = customers.email_normalized
                        AND suppressions.lifted_at IS NULL
                )
        ) AS subscribed,
        count(*) FILTER (WHERE customers.consent_state IS NULL) AS consent_unknown
    FROM raw_shopify.customers
    LEFT JOIN raw_shopify.customer_statistics
        ON
            customer_statistics.shop_id = customers.shop_id
            AND customer_statistics.customer_id = customers.customer_id
    WHERE customers.shop_id = :shop_id AND customers.deleted_at IS NULL
),

sales AS (
    SELECT
        count(*) AS orders,
        count(*) FILTER (WHERE orders.processed_at >= :since) AS orders_recent,
        count(*) FILTER (
            WHERE orders.processed_at >= :before AND orders.processed_at < :since
        ) AS orders_before,
        count(*) FILTER (WHERE orders.currency <> :currency) AS orders_foreign,
        coalesce(sum(orders.current_total) FILTER (WHERE orders.currency = :currency), 0)
            AS revenue,
        coalesce(
            sum(orders.current_total) FILTER (
                WHERE orders.currency = :currency AND orders.processed_at >= :since
            ), 0
        ) AS revenue_recent,
        coalesce(
            sum(orders.current_total) FILTER (
                WHERE
                    orders.currency = :currency
                    AND orders.processed_at >= :before
                    AND orders.processed_at < :since
            ), 0
        ) AS revenue_before
    FROM raw_shopify.orders
    WHERE orders.shop_id = :shop_id AND orders.is_counted
)

SELECT
    people.*,
    sales.*
FROM people
CROSS JOIN sales
