select
    shop_id,
    enrollment_id,
    automation_id,
    version,
    customer_id,
    entry_key,
    order_id,
    state,
    exit_reason,
    is_held_out,
    step_position,
    run_id,
    moment_at,
    due_at,
    enrolled_at,
    finished_at
from {{ source('crm', 'enrollments') }}
