-- The lines of those staged orders that are the stored version; lines of older versions and of
-- orders that are not staged stay out.
-- Changes: raw_shopify.order_lines.
-- Index: pk_orders, pk_order_lines.
INSERT INTO raw_shopify.order_lines AS stored_line (
    shop_id, line_id, order_id, title, variant_title, sku, product_id, quantity,
    current_quantity, unit_price, currency
)
SELECT DISTINCT ON (staged_line.line_id)
    :shop_id, staged_line.line_id, staged_line.order_id, staged_line.title,
    staged_line.variant_title, staged_line.sku, staged_line.product_id, staged_line.quantity,
    staged_line.current_quantity, staged_line.unit_price, staged_line.currency
FROM $lines$
INNER JOIN $kept$
    ON staged_line.order_id = kept.order_id
ORDER BY staged_line.line_id
ON CONFLICT (shop_id, line_id) DO UPDATE SET
    order_id = excluded.order_id,
    title = excluded.title,
    variant_title = excluded.variant_title,
    sku = excluded.sku,
    product_id = excluded.product_id,
    quantity = excluded.quantity,
    current_quantity = excluded.current_quantity,
    unit_price = excluded.unit_price,
    currency = excluded.currency
WHERE (
    stored_line.order_id, stored_line.title, stored_line.variant_title, stored_line.sku,
    stored_line.product_id, stored_line.quantity, stored_line.current_quantity,
    stored_line.unit_price, stored_line.currency
) IS DISTINCT FROM (
    excluded.order_id, excluded.title, excluded.variant_title, excluded.sku,
    excluded.product_id, excluded.quantity, excluded.current_quantity,
    excluded.unit_price, excluded.currency
)
