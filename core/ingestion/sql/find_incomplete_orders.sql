-- Orders of a bulk file that lack one of its lines or refunds here, or what was bought in one: it
-- could not be read when the order came (a broken line, a missing scope), and no later version of the
-- order may ever bring it. On a shop's first sync there are none.
-- Changes: incomplete_orders, which must exist. Kept in a table that is analysed, because as part
-- of drop_unchanged_orders this is planned for the usual none: a nested loop, which takes hours
-- where many lines are missing.
-- Index: pk_order_lines, pk_refunds.
INSERT INTO incomplete_orders (order_id)
SELECT DISTINCT staged_line.order_id
FROM $lines$
WHERE EXISTS (SELECT 1 FROM raw_shopify.orders WHERE orders.shop_id = :shop_id)
    AND NOT EXISTS (
        SELECT 1
        FROM raw_shopify.order_lines AS stored_line
        WHERE stored_line.shop_id = :shop_id
            AND stored_line.line_id = staged_line.line_id
            AND (stored_line.product_id IS NOT NULL OR staged_line.product_id IS NULL)
    )
UNION
SELECT staged_refund.order_id
FROM $refunds$
WHERE EXISTS (SELECT 1 FROM raw_shopify.orders WHERE orders.shop_id = :shop_id)
    AND NOT EXISTS (
        SELECT 1
        FROM raw_shopify.refunds AS stored_refund
        WHERE stored_refund.shop_id = :shop_id
            AND stored_refund.refund_id = staged_refund.refund_id
    )
