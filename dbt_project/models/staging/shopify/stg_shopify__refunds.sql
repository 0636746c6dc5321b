select
    shop_id,
    refund_id,
    order_id,
    amount,
    currency,
    processed_at
from {{ source('raw_shopify', 'refunds') }}
