-- Checkouts of a bulk file, each with its lines, into raw_shopify.checkouts.
-- Changes: inserts unknown ones; updates those that are not older and differ. Of several rows of one
-- checkout the newest counts, at one time the later line. Token and phone, which only webhooks tell,
-- stay, and where the file has no customer, address, name, subtotal or end, what is known stays too.
-- One that Shopify told of as deleted before comes hidden.
-- Index: pk_checkouts, pk_deleted_objects.
INSERT INTO raw_shopify.checkouts AS stored (
    shop_id, checkout_key, checkout_id, name, customer_id, email, recovery_url, created_at,
    updated_at, completed_at, currency, total, subtotal, discount_codes, line_items,
    deleted_at
)
SELECT DISTINCT ON (staged.checkout_key)
    :shop_id, staged.checkout_key, staged.checkout_id, staged.name, staged.customer_id,
    staged.email, staged.recovery_url, staged.created_at, staged.updated_at, staged.completed_at,
    staged.currency, staged.total, staged.subtotal, staged.discount_codes,
    coalesce(items.line_items, '[]'), gone.deleted_at
FROM $checkouts$
LEFT JOIN (
    SELECT
        line.checkout_id,
        jsonb_agg(
            jsonb_build_object(
                'title', line.title,
                'variant_title', line.variant_title,
                'sku', line.sku,
                'product_id', line.product_id,
                'quantity', line.quantity,
                'unit_price', line.unit_price
            )
            ORDER BY length(line.line_key), line.line_key
        ) AS line_items
    FROM (
        SELECT DISTINCT ON (line.checkout_id, line.line_key) line.*
        FROM $lines$
        ORDER BY line.checkout_id, line.line_key, line.line_number DESC
    ) AS line
    GROUP BY line.checkout_id
) AS items
    ON staged.checkout_id = items.checkout_id
LEFT JOIN raw_shopify.deleted_objects AS gone
    ON gone.shop_id = :shop_id
        AND gone.object_type = 'AbandonedCheckout'
        AND staged.checkout_id = gone.object_id
ORDER BY staged.checkout_key, staged.updated_at DESC, staged.line_number DESC
ON CONFLICT (shop_id, checkout_key) DO UPDATE SET
    checkout_id = excluded.checkout_id,
    name = coalesce(excluded.name, stored.name),
    customer_id = coalesce(excluded.customer_id, stored.customer_id),
    email = coalesce(excluded.email, stored.email),
    recovery_url = coalesce(excluded.recovery_url, stored.recovery_url),
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    completed_at = coalesce(excluded.completed_at, stored.completed_at),
    currency = excluded.currency,
    total = excluded.total,
    subtotal = coalesce(excluded.subtotal, stored.subtotal),
    discount_codes = excluded.discount_codes,
    line_items = excluded.line_items,
    deleted_at = coalesce(stored.deleted_at, excluded.deleted_at),
    loaded_at = clock_timestamp()
WHERE stored.updated_at <= excluded.updated_at
    AND (
        stored.checkout_id, stored.name, stored.customer_id, stored.email, stored.recovery_url,
        stored.created_at, stored.updated_at, stored.completed_at, stored.currency, stored.total,
        stored.subtotal, stored.discount_codes, stored.line_items, stored.deleted_at
    ) IS DISTINCT FROM (
        excluded.checkout_id, coalesce(excluded.name, stored.name),
        coalesce(excluded.customer_id, stored.customer_id), coalesce(excluded.email, stored.email),
        coalesce(excluded.recovery_url, stored.recovery_url), excluded.created_at,
        excluded.updated_at, coalesce(excluded.completed_at, stored.completed_at),
        excluded.currency, excluded.total, coalesce(excluded.subtotal, stored.subtotal),
        excluded.discount_codes, excluded.line_items,
        coalesce(stored.deleted_at, excluded.deleted_at)
    )
