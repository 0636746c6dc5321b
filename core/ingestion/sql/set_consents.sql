-- Consent as webhooks tell it, each customer once. The later one counts; of two at one time the one
-- that forbids. That of another address than the customer's changes nothing: the customer is read.
-- Changes: raw_shopify.customers; an unknown customer gets a row that anything told later fills.
-- Index: pk_customers.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, email, consent_state, consent_level, consent_updated_at, created_at,
    updated_at
)
SELECT
    :shop_id, told.customer_id, told.email, told.consent_state, told.consent_level,
    told.consent_updated_at, CAST(:long_ago AS timestamptz), CAST(:long_ago AS timestamptz)
FROM $consents$
ORDER BY told.customer_id
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    email = coalesce(stored.email, excluded.email),
    consent_state = excluded.consent_state,
    consent_level = excluded.consent_level,
    consent_updated_at = excluded.consent_updated_at,
    loaded_at = clock_timestamp()
WHERE coalesce(stored.email_normalized = lower(btrim(excluded.email)), TRUE)
    AND (
        stored.consent_state IS NULL
        OR (
            coalesce(stored.consent_updated_at, '-infinity'),
            stored.consent_state <> 'SUBSCRIBED',
            stored.consent_state
        ) < (
            excluded.consent_updated_at,
            excluded.consent_state <> 'SUBSCRIBED',
            excluded.consent_state
        )
    )
