-- Checkouts as webhooks tell them, each once. Those without anybody to write to only if we hold them.
-- Changes: raw_shopify.checkouts; inserts unknown ones, updates older ones. At one `updated_at` the
-- completed one counts, then the larger sum, so that the order of arrival never matters. What only
-- GraphQL tells (the id) stays, and who is deleted stays so; one whose id, in its name, Shopify told
-- of as deleted before comes hidden.
-- A row of 1970 is one that was made before we knew more than its number.
-- Index: pk_checkouts, pk_deleted_objects.
INSERT INTO raw_shopify.checkouts AS stored (
    shop_id, checkout_key, token, name, customer_id, email, phone, recovery_url, created_at,
    updated_at, completed_at, currency, total, subtotal, discount_codes, line_items, deleted_at
)
SELECT
    :shop_id, told.checkout_key, told.token, told.name, told.customer_id, told.email, told.phone,
    told.recovery_url, told.created_at, told.updated_at, told.completed_at, told.currency,
    told.total, told.subtotal, told.discount_codes, told.line_items,
    (
        SELECT gone.deleted_at
        FROM raw_shopify.deleted_objects AS gone
        WHERE gone.shop_id = :shop_id
            AND gone.object_type = 'AbandonedCheckout'
            AND gone.object_id = CAST(substring(told.name FROM '^#([0-9]{1,18})$') AS bigint)
    )
FROM $checkouts$
WHERE coalesce(told.email, told.phone, told.customer_id::text) IS NOT NULL
    OR (
        SELECT held.checkout_key
        FROM raw_shopify.checkouts AS held
        WHERE held.shop_id = :shop_id
            AND held.checkout_key = told.checkout_key
    ) IS NOT NULL
ORDER BY told.checkout_key
ON CONFLICT (shop_id, checkout_key) DO UPDATE SET
    token = coalesce(excluded.token, stored.token),
    name = coalesce(excluded.name, stored.name),
    customer_id = coalesce(excluded.customer_id, stored.customer_id),
    email = coalesce(excluded.email, stored.email),
    phone = coalesce(excluded.phone, stored.phone),
    recovery_url = coalesce(excluded.recovery_url, stored.recovery_url),
    created_at = least(excluded.created_at, nullif(stored.created_at, '1970-01-01T00:00:00Z')),
    updated_at = excluded.updated_at,
    completed_at = coalesce(excluded.completed_at, stored.completed_at),
    currency = excluded.currency,
    total = excluded.total,
    subtotal = coalesce(excluded.subtotal, stored.subtotal),
    discount_codes = excluded.discount_codes,
    line_items = excluded.line_items,
    deleted_at = coalesce(stored.deleted_at, excluded.deleted_at),
    loaded_at = clock_timestamp()
WHERE (
    stored.updated_at, stored.completed_at IS NOT NULL, stored.total
) < (
    excluded.updated_at, excluded.completed_at IS NOT NULL, excluded.total
)
