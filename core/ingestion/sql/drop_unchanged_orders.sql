-- Orders that are stored already as they are staged, or newer: a repeated sync has nothing to do
-- for them, and locks nothing.
-- Changes: the staging table.
-- Index: pk_orders.
DELETE FROM staged_orders AS staged
USING raw_shopify.orders AS stored
WHERE stored.shop_id = :shop_id
    AND stored.order_id = staged.order_id
    AND NOT ($is_newer$)
