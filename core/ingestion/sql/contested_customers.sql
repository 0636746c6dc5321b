-- Known customers who must be read from Shopify although a webhook did not move them: the consent
-- is unknown, or the webhook tells something else at the same `updated_at` (two changes within one
-- second). A blank in a webhook says nothing.
-- Returns: their ids. Changes nothing.
-- One look by key for each: a join's plan, kept from a shop's first minute, reads the whole shop.
-- Index: pk_customers.
SELECT stored.customer_id
FROM $customers$
CROSS JOIN LATERAL (
    SELECT known.*
    FROM raw_shopify.customers AS known
    WHERE known.shop_id = :shop_id
        AND known.customer_id = told.customer_id
    OFFSET 0
) AS stored
WHERE stored.consent_state IS NULL
    OR (
        stored.updated_at = told.updated_at
        AND (
            coalesce(told.email, stored.email),
            coalesce(told.first_name, stored.first_name),
            coalesce(told.last_name, stored.last_name),
            coalesce(told.phone, stored.phone)
        ) IS DISTINCT FROM (
            stored.email, stored.first_name, stored.last_name, stored.phone
        )
    )
