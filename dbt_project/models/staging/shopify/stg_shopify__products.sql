select
    shop_id,
    product_id,
    title,
    handle,
    status,
    vendor,
    product_type,
    image_url,
    store_url,
    created_at,
    updated_at
from {{ source('raw_shopify', 'products') }}
