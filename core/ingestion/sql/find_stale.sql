-- Compares the staged ids and times of everything Shopify holds with ours.
-- Returns one row per object that we lack (is_missing) or hold in an older state, missing ones
-- first. What Shopify has told us it deleted is left out. Changes nothing.
-- Reads the whole table beside the staged ids; pk_deleted_objects.
SELECT
    named.object_id,
    held.$id$ IS NULL AS is_missing
FROM $named$ AS named
LEFT JOIN $held$ ON held.shop_id = :shop_id AND held.$id$ = named.object_id
WHERE
    (held.$id$ IS NULL OR (held.updated_at < named.updated_at AND $alive$))
    AND NOT EXISTS (
        SELECT FROM raw_shopify.deleted_objects AS deleted
        WHERE
            deleted.shop_id = :shop_id
            AND deleted.object_type = :object_type
            AND deleted.object_id = named.object_id
    )
ORDER BY is_missing DESC, named.object_id
