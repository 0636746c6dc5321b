-- Whole customers (bulk file, read by id) into raw_shopify.customers.
-- Changes: inserts unknown ones; updates those that are not older and differ. Of several rows of
-- one customer the newest counts. `loaded_at` moves with each change.
-- Index: pk_customers.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, email, first_name, last_name, phone, locale, tags,
    consent_state, consent_level, consent_updated_at, has_valid_email, created_at, updated_at
)
SELECT DISTINCT ON (staged.customer_id)
    :shop_id, staged.customer_id, staged.email, staged.first_name, staged.last_name, staged.phone,
    staged.locale, staged.tags, staged.consent_state, staged.consent_level,
    staged.consent_updated_at, staged.has_valid_email, staged.created_at, staged.updated_at
FROM $customers$
ORDER BY staged.customer_id, staged.updated_at DESC
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    email = excluded.email,
    first_name = excluded.first_name,
    last_name = excluded.last_name,
    phone = excluded.phone,
    locale = excluded.locale,
    tags = excluded.tags,
    consent_state = excluded.consent_state,
    consent_level = excluded.consent_level,
    consent_updated_at = excluded.consent_updated_at,
    has_valid_email = excluded.has_valid_email,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    loaded_at = clock_timestamp()
WHERE stored.updated_at <= excluded.updated_at
    AND (
        stored.email, stored.first_name, stored.last_name, stored.phone, stored.locale,
        stored.tags, stored.consent_state, stored.consent_level, stored.consent_updated_at,
        stored.has_valid_email, stored.created_at, stored.updated_at
    ) IS DISTINCT FROM (
        excluded.email, excluded.first_name, excluded.last_name, excluded.phone, excluded.locale,
        excluded.tags, excluded.consent_state, excluded.consent_level, excluded.consent_updated_at,
        excluded.has_valid_email, excluded.created_at, excluded.updated_at
    )
