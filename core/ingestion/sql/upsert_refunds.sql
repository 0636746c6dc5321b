-- The refunds of those staged orders that are the stored version.
-- Changes: raw_shopify.refunds.
-- Index: pk_orders, pk_refunds.
INSERT INTO raw_shopify.refunds AS stored_refund (
    shop_id, refund_id, order_id, processed_at, amount, currency
)
SELECT DISTINCT ON (staged_refund.refund_id)
    :shop_id, staged_refund.refund_id, staged_refund.order_id, staged_refund.processed_at,
    staged_refund.amount, staged_refund.currency
FROM $refunds$
INNER JOIN $kept$
    ON staged_refund.order_id = kept.order_id
ORDER BY staged_refund.refund_id
ON CONFLICT (shop_id, refund_id) DO UPDATE SET
    order_id = excluded.order_id,
    processed_at = excluded.processed_at,
    amount = excluded.amount,
    currency = excluded.currency
WHERE (
    stored_refund.order_id, stored_refund.processed_at, stored_refund.amount,
    stored_refund.currency
) IS DISTINCT FROM (
    excluded.order_id, excluded.processed_at, excluded.amount, excluded.currency
)
