-- Lines of a bulk file whose order is not in it (its own line may have been rejected).
-- Changes: raw_shopify.rejected_lines gains a row each; run before staged orders are dropped.
INSERT INTO raw_shopify.rejected_lines (
    shop_id, sync_run_id, object_type, line_number, content, error
)
SELECT
    :shop_id, :sync_run_id, 'Order', staged_line.line_number,
    convert_to('LineItem ' || staged_line.line_id || ' of Order ' || staged_line.order_id, 'UTF8'),
    'its order is not in the file'
FROM staged_lines AS staged_line
WHERE NOT EXISTS (
    SELECT 1
    FROM staged_orders AS staged
    WHERE staged.order_id = staged_line.order_id
)
