-- Customers that orders name and whom, or whose consent, we do not know.
-- Returns nothing. Changes: raw_shopify.refresh_requests gains a request each, due at once; one
-- that is waiting already is asked for anew.
-- Index: pk_customers, pk_refresh_requests.
INSERT INTO raw_shopify.refresh_requests AS stored (
    shop_id, object_type, object_id, reason, requested_at, next_attempt_at
)
SELECT :shop_id, 'Customer', named.customer_id, 'consent unknown', :at, clock_timestamp()
FROM (
    SELECT DISTINCT staged.customer_id
    FROM $orders$
    WHERE staged.customer_id IS NOT NULL
) AS named
LEFT JOIN raw_shopify.customers AS customer
    ON customer.shop_id = :shop_id
        AND customer.customer_id = named.customer_id
WHERE customer.consent_state IS NULL
ORDER BY named.customer_id
ON CONFLICT (shop_id, object_type, object_id) DO UPDATE SET
    requested_at = greatest(excluded.requested_at, stored.requested_at + interval '1 microsecond'),
    reason = excluded.reason,
    attempts = 0,
    next_attempt_at = excluded.next_attempt_at,
    error = NULL
