-- Holds the statistics rows of all touched customers until the transaction ends, in id order; who
-- has none gets one.
-- Changes: raw_shopify.customer_statistics, which gains the missing rows. The update that never
-- happens is what locks those that are there.
-- Index: pk_customer_statistics.
INSERT INTO raw_shopify.customer_statistics AS stored (shop_id, customer_id)
SELECT :shop_id, touched.customer_id
FROM $touched$
ORDER BY touched.customer_id
ON CONFLICT (shop_id, customer_id) DO UPDATE SET order_count = stored.order_count
WHERE false
