-- Customers as webhooks tell them, each once: without consent and tags, which stay as they are
-- (NULL and empty for a new one).
-- Returns: the ids of those that are new or were older. Changes: raw_shopify.customers.
-- A blank in a webhook takes nothing away; the refresh that follows tells the truth. Who is deleted
-- stays so.
-- A row of 1970 is one that was made before we knew more than its number.
-- Index: pk_customers.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, email, first_name, last_name, phone, created_at, updated_at
)
SELECT
    :shop_id, told.customer_id, told.email, told.first_name, told.last_name, told.phone,
    told.created_at, told.updated_at
FROM $customers$
ORDER BY told.customer_id
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    email = coalesce(excluded.email, stored.email),
    first_name = coalesce(excluded.first_name, stored.first_name),
    last_name = coalesce(excluded.last_name, stored.last_name),
    phone = coalesce(excluded.phone, stored.phone),
    created_at = least(excluded.created_at, nullif(stored.created_at, '1970-01-01T00:00:00Z')),
    updated_at = excluded.updated_at,
    loaded_at = clock_timestamp()
WHERE stored.updated_at < excluded.updated_at
RETURNING stored.customer_id
