select
    shop_id,
    object_type,
    object_id,
    deleted_at
from {{ source('raw_shopify', 'deleted_objects') }}
