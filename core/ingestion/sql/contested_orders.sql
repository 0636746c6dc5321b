-- Known orders that differ from the staged ones at the same `updated_at`: two changes within one
-- second, so the time does not tell which came last.
-- Returns: their ids. Changes nothing.
-- Index: pk_orders.
SELECT stored.order_id
FROM raw_shopify.orders AS stored
INNER JOIN $orders$
    ON stored.order_id = staged.order_id
WHERE stored.shop_id = :shop_id
    AND stored.updated_at = staged.updated_at
    AND $is_newer$
