-- Whole customers (bulk file, read by id) into raw_shopify.customers.
-- Changes: inserts unknown ones; updates those that are not older and differ. Of several rows of
-- one customer the newest counts, at one time by $tie$. `loaded_at` moves with each change. Whoever
-- was deleted or merged away stays so: a file made before, or a read that lags, brings nobody back.
-- Index: pk_customers, pk_customer_merges, pk_deleted_objects.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, email, first_name, last_name, phone, locale, tags, consent_state,
    consent_level, consent_updated_at, has_valid_email, reported_order_count, reported_total_spent,
    created_at, updated_at, deleted_at, merged_into
)
SELECT DISTINCT ON (staged.customer_id)
    :shop_id,
    staged.customer_id, staged.email, staged.first_name, staged.last_name, staged.phone,
    staged.locale, staged.tags, staged.consent_state, staged.consent_level,
    staged.consent_updated_at, staged.has_valid_email, staged.reported_order_count,
    staged.reported_total_spent, staged.created_at, staged.updated_at,
    coalesce(merges.merged_at, deleted.deleted_at), merges.kept_customer_id
FROM $customers$
LEFT JOIN raw_shopify.customer_merges AS merges
    ON merges.shop_id = :shop_id
        AND merges.deleted_customer_id = staged.customer_id
LEFT JOIN raw_shopify.deleted_objects AS deleted
    ON deleted.shop_id = :shop_id
        AND deleted.object_type = 'Customer'
        AND deleted.object_id = staged.customer_id
ORDER BY staged.customer_id, staged.updated_at DESC, $tie$
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
    reported_order_count = excluded.reported_order_count,
    reported_total_spent = excluded.reported_total_spent,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    loaded_at = clock_timestamp()
WHERE stored.updated_at <= excluded.updated_at
    AND (
        stored.email, stored.first_name, stored.last_name, stored.phone, stored.locale,
        stored.tags, stored.consent_state, stored.consent_level, stored.consent_updated_at,
        stored.has_valid_email, stored.reported_order_count, stored.reported_total_spent,
        stored.created_at, stored.updated_at
    ) IS DISTINCT FROM (
        excluded.email, excluded.first_name, excluded.last_name, excluded.phone, excluded.locale,
        excluded.tags, excluded.consent_state, excluded.consent_level, excluded.consent_updated_at,
        excluded.has_valid_email, excluded.reported_order_count, excluded.reported_total_spent,
        excluded.created_at, excluded.updated_at
    )
