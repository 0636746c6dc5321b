-- Returns the ids of objects that we hold as alive, that had not changed when an export of
-- everything began (:began_at, Shopify's clock), and that it did not name. Changes nothing.
-- Reads the whole table beside the staged ids; at most :limit rows.
SELECT held.$id$ AS object_id
FROM $held$
WHERE
    held.shop_id = :shop_id
    AND $alive$
    AND held.updated_at < :began_at
    AND NOT EXISTS (SELECT FROM $named$ WHERE named.$named_id$ = held.$id$)
ORDER BY held.$id$
LIMIT :limit
