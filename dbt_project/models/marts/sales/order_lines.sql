-- Titles are those of the day of the order; vendor and type are the product's of today.
select
    lines.shop_id,
    lines.order_line_id,
    lines.order_id,
    orders.customer_id,
    orders.order_date,
    orders.processed_at,
    orders.is_counted,
    lines.product_id,
    lines.title as product_title,
    lines.variant_title,
    lines.sku,
    products.vendor,
    products.product_type,
    lines.quantity,
    lines.current_quantity,
    lines.unit_price,
    (lines.quantity * lines.unit_price)::numeric(20, 4) as line_total,
    (lines.current_quantity * lines.unit_price)::numeric(20, 4) as current_line_total,
    lines.currency
from {{ ref('stg_shopify__order_lines') }} as lines
inner join {{ ref('int_orders_classified') }} as orders
    on
        lines.shop_id = orders.shop_id
        and lines.order_id = orders.order_id
left join {{ ref('stg_shopify__products') }} as products
    on
        lines.shop_id = products.shop_id
        and lines.product_id = products.product_id
