-- Orders that are stored already as they are staged, or newer: a repeated sync has nothing to do
-- for them, and locks nothing. Those of incomplete_orders stay, and so get their lines.
-- Changes: the staging table.
-- Index: pk_orders.
DELETE FROM $orders$
USING raw_shopify.orders AS stored
WHERE stored.shop_id = :shop_id
    AND stored.order_id = staged.order_id
    AND NOT ($is_newer$)
    AND NOT EXISTS (
        SELECT 1
        FROM incomplete_orders AS incomplete
        WHERE incomplete.order_id = staged.order_id
            AND stored.updated_at = staged.updated_at
    )
