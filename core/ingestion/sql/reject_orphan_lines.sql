-- Lines of a bulk file whose order is not in it (its own line may have been rejected).
-- Changes: raw_shopify.rejected_lines gains a row each, with what had been read of the line; run
-- before staged orders are dropped.
INSERT INTO raw_shopify.rejected_lines (
    shop_id, sync_run_id, object_type, line_number, content, error
)
SELECT
    :shop_id, :sync_run_id, 'Order', staged_line.line_number,
    convert_to(to_json(staged_line)::text, 'UTF8'), 'its order is not in the file'
FROM $lines$
WHERE NOT EXISTS (
    SELECT 1
    FROM $orders$
    WHERE staged.order_id = staged_line.order_id
)
