select
    shop_id,
    line_id as order_line_id,
    order_id,
    product_id,
    title,
    variant_title,
    sku,
    quantity,
    current_quantity,
    unit_price,
    currency
from {{ source('raw_shopify', 'order_lines') }}
