select
    shop_id,
    sync_run_id,
    kind,
    state,
    run_id,
    customers_loaded,
    orders_loaded,
    order_lines_loaded,
    checkouts_loaded,
    products_loaded,
    lines_rejected,
    error,
    warning,
    started_at,
    finished_at
from {{ source('raw_shopify', 'sync_runs') }}
