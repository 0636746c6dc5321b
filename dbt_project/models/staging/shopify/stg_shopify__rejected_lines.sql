-- Neither the line nor what was wrong with it: both may hold somebody's data.
select
    shop_id,
    rejected_line_id,
    sync_run_id,
    object_type,
    line_number,
    rejected_at
from {{ source('raw_shopify', 'rejected_lines') }}
