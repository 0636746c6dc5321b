-- The orders we do not have, in id order. Known ones are left alone.
-- Changes: raw_shopify.orders. Waits for another transaction that is inserting the same order, so
-- afterwards every staged order exists and its customer can be locked and read.
-- Index: pk_orders.
INSERT INTO raw_shopify.orders (
    shop_id, order_id, name, customer_id, email, created_at, updated_at, processed_at,
    cancelled_at, is_test, financial_status, source_name, checkout_token, discount_codes,
    currency, current_total, original_total, refunded_total
)
SELECT
    :shop_id, staged.order_id, staged.name, staged.customer_id, staged.email, staged.created_at,
    staged.updated_at, staged.processed_at, staged.cancelled_at, staged.is_test,
    staged.financial_status, staged.source_name, staged.checkout_token, staged.discount_codes,
    staged.currency, staged.current_total, staged.original_total, staged.refunded_total
FROM $orders$
ORDER BY staged.order_id
ON CONFLICT (shop_id, order_id) DO NOTHING
