-- Of several rows of one order in a bulk file only the newest stays staged; at one time the later line.
-- Changes: the staging table.
DELETE FROM $orders$
USING $orders_table$ AS better
WHERE staged.order_id = better.order_id
    AND (staged.updated_at, staged.line_number) < (better.updated_at, better.line_number)
