select
    shop_id,
    batch_id,
    attempt,
    run_id,
    outcome,
    status_code,
    started_at,
    finished_at
from {{ source('crm', 'delivery_attempts') }}
