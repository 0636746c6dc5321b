select
    shop_id,
    touch_id,
    customer_id,
    touched_at
from {{ source('raw_shopify', 'customer_touches') }}
