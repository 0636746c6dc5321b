-- Of several rows of one order in a bulk file, only the newest stays staged.
-- Changes: the staging table.
DELETE FROM staged_orders AS staged
USING staged_orders AS better
WHERE staged.order_id = better.order_id
    AND (staged.updated_at, staged.ctid) < (better.updated_at, better.ctid)
