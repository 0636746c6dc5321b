-- The id and name of checkouts that only webhooks have told of, also where those were later: nobody
-- else tells them.
-- Changes: raw_shopify.checkouts.
-- Index: pk_checkouts.
UPDATE raw_shopify.checkouts AS stored SET
    checkout_id = staged.checkout_id,
    name = coalesce(stored.name, staged.name),
    loaded_at = clock_timestamp()
FROM $checkouts$
WHERE stored.shop_id = :shop_id
    AND stored.checkout_key = staged.checkout_key
    AND stored.checkout_id IS NULL
