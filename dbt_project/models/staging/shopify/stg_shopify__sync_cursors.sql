select
    shop_id,
    object_type,
    sync_run_id,
    object_id,
    updated_at
from {{ source('raw_shopify', 'sync_cursors') }}
