-- Products into raw_shopify.products.
-- Changes: inserts unknown ones; updates those that are not older and differ. Of several rows of one
-- product the newest counts, at one time by $tie$.
-- Index: pk_products.
INSERT INTO raw_shopify.products AS stored (
    shop_id, product_id, title, handle, status, vendor, product_type, image_url, store_url,
    created_at, updated_at
)
SELECT DISTINCT ON (staged.product_id)
    :shop_id,
    staged.product_id, staged.title, staged.handle, staged.status, staged.vendor,
    staged.product_type, staged.image_url, staged.store_url, staged.created_at, staged.updated_at
FROM $products$
WHERE NOT EXISTS (
    SELECT 1
    FROM raw_shopify.deleted_objects AS deleted
    WHERE deleted.shop_id = :shop_id
        AND deleted.object_type = 'Product'
        AND deleted.object_id = staged.product_id
)
ORDER BY staged.product_id, staged.updated_at DESC, $tie$
ON CONFLICT (shop_id, product_id) DO UPDATE SET
    title = excluded.title,
    handle = excluded.handle,
    status = excluded.status,
    vendor = excluded.vendor,
    product_type = excluded.product_type,
    image_url = excluded.image_url,
    store_url = excluded.store_url,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    loaded_at = clock_timestamp()
WHERE stored.updated_at <= excluded.updated_at
    AND (
        stored.title, stored.handle, stored.status, stored.vendor, stored.product_type,
        stored.image_url, stored.store_url, stored.created_at, stored.updated_at
    ) IS DISTINCT FROM (
        excluded.title, excluded.handle, excluded.status, excluded.vendor, excluded.product_type,
        excluded.image_url, excluded.store_url, excluded.created_at, excluded.updated_at
    )
