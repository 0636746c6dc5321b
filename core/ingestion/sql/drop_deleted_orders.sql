-- Orders that Shopify has deleted stay deleted, whatever a file that was made before says.
-- Changes: the staging table.
-- Index: pk_deleted_objects.
DELETE FROM $orders$
USING raw_shopify.deleted_objects AS deleted
WHERE deleted.shop_id = :shop_id
    AND deleted.object_type = 'Order'
    AND deleted.object_id = staged.order_id
