-- Remembers objects that Shopify deleted, so that nothing that comes later brings them back.
-- Changes: raw_shopify.deleted_objects.
-- Index: pk_deleted_objects.
INSERT INTO raw_shopify.deleted_objects AS stored (shop_id, object_type, object_id, deleted_at)
SELECT :shop_id, :object_type, gone.object_id, gone.gone_at
FROM unnest(CAST(:object_ids AS bigint []), CAST(:gone_at AS timestamptz []))
    AS gone (object_id, gone_at)
ORDER BY gone.object_id
ON CONFLICT (shop_id, object_type, object_id) DO UPDATE SET
    deleted_at = least(stored.deleted_at, excluded.deleted_at)
