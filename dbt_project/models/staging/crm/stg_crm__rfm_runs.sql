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
    decided_at,
    held_check,
    entered_count,
    exited_count,
    decided_by as decided_by_user_id
from {{ source('crm', 'rfm_runs') }}
