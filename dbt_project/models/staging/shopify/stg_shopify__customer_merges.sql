select
    shop_id,
    deleted_customer_id,
    kept_customer_id,
    merged_at,
    applied_at
from {{ source('raw_shopify', 'customer_merges') }}
