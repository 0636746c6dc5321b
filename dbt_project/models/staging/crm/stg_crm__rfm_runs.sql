select
    shop_id,
    rfm_run_id,
    state,
    held_reason,
    customer_count,
    buyer_count,
    order_count,
    moved_count,
    computed_at,
    decided_at
from {{ source('crm', 'rfm_runs') }}
