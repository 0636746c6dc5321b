select
    shop_id,
    sync_log_id,
    sync_run_id,
    level,
    object_type,
    message,
    at as logged_at
from {{ source('raw_shopify', 'sync_log') }}
