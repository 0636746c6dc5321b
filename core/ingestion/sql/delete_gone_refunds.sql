-- Refunds that an order no longer has.
-- Changes: raw_shopify.refunds, of those orders that the staged version brings up to it;
-- after that or, in one statement with it, at the same time.
-- Index: pk_orders, ix_refunds__order.
DELETE FROM raw_shopify.refunds AS gone
USING $orders$
INNER JOIN raw_shopify.orders AS stored
    ON stored.shop_id = :shop_id
        AND stored.order_id = staged.order_id
        AND stored.updated_at <= staged.updated_at
WHERE gone.shop_id = :shop_id
    AND gone.order_id = staged.order_id
    AND NOT EXISTS (
        SELECT 1
        FROM $refunds$
        WHERE staged_refund.refund_id = gone.refund_id
            AND staged_refund.order_id = gone.order_id
    )
