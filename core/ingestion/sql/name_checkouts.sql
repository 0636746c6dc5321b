-- The id and name of checkouts that only webhooks have told of, also where those were later: nobody
-- else tells them. By its id one may turn out to be deleted.
-- Changes: raw_shopify.checkouts.
-- Index: pk_checkouts, pk_deleted_objects.
UPDATE raw_shopify.checkouts AS stored SET
    checkout_id = staged.checkout_id,
    name = coalesce(stored.name, staged.name),
    deleted_at = coalesce(
        stored.deleted_at,
        (
            SELECT gone.deleted_at
            FROM raw_shopify.deleted_objects AS gone
            WHERE gone.shop_id = :shop_id
                AND gone.object_type = 'AbandonedCheckout'
                AND gone.object_id = staged.checkout_id
        )
    ),
    loaded_at = clock_timestamp()
FROM $checkouts$
WHERE stored.shop_id = :shop_id
    AND stored.checkout_key = staged.checkout_key
    AND stored.checkout_id IS NULL
