-- One customer as a webhook tells it: without consent and tags, which stay as they are (NULL and
-- empty for a new one).
-- Returns: one row when the customer is new or was older. Changes: raw_shopify.customers.
-- A blank in a webhook takes nothing away; the refresh that follows tells the truth.
-- Index: pk_customers.
INSERT INTO raw_shopify.customers AS stored (
    shop_id, customer_id, email, first_name, last_name, phone, created_at, updated_at
)
VALUES (
    :shop_id, :customer_id, :email, :first_name, :last_name, :phone, :created_at, :updated_at
)
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    email = coalesce(excluded.email, stored.email),
    first_name = coalesce(excluded.first_name, stored.first_name),
    last_name = coalesce(excluded.last_name, stored.last_name),
    phone = coalesce(excluded.phone, stored.phone),
    updated_at = excluded.updated_at,
    loaded_at = clock_timestamp()
WHERE stored.updated_at < excluded.updated_at
RETURNING stored.customer_id
