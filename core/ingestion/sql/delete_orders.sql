-- Orders with their lines, their refunds and what was asked of them. The caller holds the orders and
-- the statistics of their customers.
-- Changes: raw_shopify.orders, order_lines, refunds and refresh_requests lose them.
-- Index: pk_orders, ix_order_lines__order, ix_refunds__order, pk_refresh_requests.
WITH lines AS (
    DELETE FROM raw_shopify.order_lines AS gone
    WHERE gone.shop_id = :shop_id AND gone.order_id = ANY(CAST(:order_ids AS bigint []))
),

refunds AS (
    DELETE FROM raw_shopify.refunds AS gone
    WHERE gone.shop_id = :shop_id AND gone.order_id = ANY(CAST(:order_ids AS bigint []))
),

requests AS (
    DELETE FROM raw_shopify.refresh_requests AS gone
    WHERE gone.shop_id = :shop_id
        AND gone.object_type = 'Order'
        AND gone.object_id = ANY(CAST(:order_ids AS bigint []))
)

DELETE FROM raw_shopify.orders AS gone
WHERE gone.shop_id = :shop_id AND gone.order_id = ANY(CAST(:order_ids AS bigint []))
