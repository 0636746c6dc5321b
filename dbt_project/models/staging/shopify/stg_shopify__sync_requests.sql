select
    shop_id,
    sync_request_id,
    kind,
    state,
    requested_by,
    run_id,
    error,
    requested_at,
    launched_at,
    finished_at
from {{ source('raw_shopify', 'sync_requests') }}
