-- A statistics row for every touched customer who has none, in id order.
-- Changes: raw_shopify.customer_statistics.
-- Index: pk_customer_statistics.
INSERT INTO raw_shopify.customer_statistics (shop_id, customer_id)
SELECT :shop_id, touched.customer_id
FROM $touched$
ORDER BY touched.customer_id
ON CONFLICT (shop_id, customer_id) DO NOTHING
