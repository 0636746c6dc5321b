-- Lines of checkouts whose checkout is not in the bulk file.
-- Changes: raw_shopify.rejected_lines gains a row each, with what had been read of the line.
INSERT INTO raw_shopify.rejected_lines (
    shop_id, sync_run_id, object_type, line_number, content, error
)
SELECT
    :shop_id, :sync_run_id, 'AbandonedCheckout', line.line_number,
    convert_to(to_json(line)::text, 'UTF8'), 'its checkout is not in the file'
FROM $lines$
WHERE NOT EXISTS (
    SELECT 1
    FROM $checkouts$
    WHERE staged.checkout_id = line.checkout_id
)
