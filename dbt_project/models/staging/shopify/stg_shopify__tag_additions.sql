select
    shop_id,
    addition_id,
    customer_id,
    tag,
    added_at
from {{ source('raw_shopify', 'tag_additions') }}
