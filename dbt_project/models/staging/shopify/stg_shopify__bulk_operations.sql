select
    shop_id,
    operation_id,
    sync_run_id,
    object_type,
    purpose,
    state,
    shopify_status,
    error_code,
    api_version,
    filter,
    object_count,
    file_size,
    lines_read,
    window_start as window_started_at,
    submitted_at,
    announced_at,
    finished_at
from {{ source('raw_shopify', 'bulk_operations') }}
