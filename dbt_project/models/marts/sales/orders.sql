-- A view: right in the moment an order or a refund is stored. `customer_order_number` is looked up
-- row by row (ix_orders__customer) and costs nothing where it is not selected.
select
    orders.shop_id,
    orders.order_id,
    orders.order_name,
    orders.customer_id,
    orders.order_date,
    orders.processed_at,
    orders.created_at,
    orders.updated_at,
    orders.cancelled_at,
    orders.financial_status,
    orders.source_name,
    orders.discount_codes,
    orders.currency,
    orders.is_foreign_currency,
    orders.original_total,
    orders.refunded_total,
    orders.current_total,
    orders.gross_revenue,
    orders.net_revenue,
    orders.is_test,
    orders.is_counted,
    orders.customer_id is null as is_guest,
    orders.is_historical,
    case
        when orders.is_counted and orders.customer_id is not null
            then (
                select count(*)
                from {{ ref('stg_shopify__orders') }} as earlier
                where
                    earlier.shop_id = orders.shop_id
                    and earlier.customer_id = orders.customer_id
                    and earlier.is_counted
                    and (earlier.processed_at, earlier.order_id)
                    <= (orders.processed_at, orders.order_id)
            )
    end::integer as customer_order_number
from {{ ref('int_orders_classified') }} as orders
