-- Whether a known customer must be read from Shopify although a webhook did not move it: the consent
-- is unknown, or the webhook tells something else at the same `updated_at` (two changes within one
-- second). A blank in a webhook says nothing.
-- Returns: one row. Changes nothing.
-- Index: pk_customers.
SELECT
    stored.consent_state IS NULL
    OR (
        stored.updated_at = :updated_at
        AND (
            coalesce(:email, stored.email),
            coalesce(:first_name, stored.first_name),
            coalesce(:last_name, stored.last_name),
            coalesce(:phone, stored.phone)
        ) IS DISTINCT FROM (
            stored.email, stored.first_name, stored.last_name, stored.phone
        )
    )
FROM raw_shopify.customers AS stored
WHERE stored.shop_id = :shop_id
    AND stored.customer_id = :customer_id
