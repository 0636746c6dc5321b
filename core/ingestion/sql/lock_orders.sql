-- Locks orders, in id order, until the transaction ends.
-- Returns: their ids and customers. Changes nothing.
-- Index: pk_orders, ix_orders__customer.
SELECT stored.order_id, stored.customer_id
FROM raw_shopify.orders AS stored
WHERE stored.shop_id = :shop_id
    AND $which$
ORDER BY stored.order_id
FOR UPDATE OF stored
