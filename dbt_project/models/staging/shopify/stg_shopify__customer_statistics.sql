select
    shop_id,
    customer_id,
    order_count,
    total_spent,
    first_order_at,
    last_order_at,
    foreign_currency_order_count
from {{ source('raw_shopify', 'customer_statistics') }}
