-- A checkout that Shopify deleted, by its token or its id.
-- Changes: raw_shopify.checkouts; one we do not know yet, but whose key we do, gets a row that stays
-- hidden.
-- Index: none, it reads the shop's checkouts; rare.
WITH known AS (
    UPDATE raw_shopify.checkouts AS stored SET
        deleted_at = least(stored.deleted_at, CAST(:gone_at AS timestamptz)),
        loaded_at = clock_timestamp()
    WHERE stored.shop_id = :shop_id
        AND (
            stored.checkout_key = CAST(:token AS text)
            OR stored.token = CAST(:token AS text)
            OR stored.checkout_id = CAST(:number AS bigint)
            OR stored.name = '#' || CAST(:number AS bigint)
        )
    RETURNING stored.checkout_key
)

INSERT INTO raw_shopify.checkouts (
    shop_id, checkout_key, token, created_at, updated_at, deleted_at, currency, total
)
SELECT
    :shop_id, CAST(:token AS text), CAST(:token AS text), CAST(:long_ago AS timestamptz),
    CAST(:long_ago AS timestamptz), CAST(:gone_at AS timestamptz), shops.currency, 0
FROM crm.shops
WHERE shops.shop_id = :shop_id
    AND CAST(:token AS text) IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM known)
ON CONFLICT (shop_id, checkout_key) DO UPDATE SET
    deleted_at = least(checkouts.deleted_at, excluded.deleted_at)
