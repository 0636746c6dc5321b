-- Brings the known orders that are not newer than the staged ones, and differ, up to them.
-- Changes: raw_shopify.orders, whose rows touched_customers has locked.
-- Index: pk_orders.
UPDATE raw_shopify.orders AS stored SET
    name = staged.name,
    customer_id = staged.customer_id,
    email = staged.email,
    created_at = staged.created_at,
    updated_at = staged.updated_at,
    processed_at = staged.processed_at,
    cancelled_at = staged.cancelled_at,
    is_test = staged.is_test,
    financial_status = staged.financial_status,
    source_name = staged.source_name,
    -- Older versions of the API do not tell it; a webhook may have.
    checkout_token = coalesce(staged.checkout_token, stored.checkout_token),
    discount_codes = staged.discount_codes,
    currency = staged.currency,
    current_total = staged.current_total,
    original_total = staged.original_total,
    refunded_total = staged.refunded_total,
    loaded_at = clock_timestamp()
FROM $orders$
WHERE stored.shop_id = :shop_id
    AND stored.order_id = staged.order_id
    AND $is_newer$
