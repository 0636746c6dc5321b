-- A customer without an order that counts may have a row of zeros or none.
with from_orders as (

    select
        shop_id,
        customer_id,
        count(*) as order_count,
        sum(net_revenue) as total_spent,
        min(processed_at) as first_order_at,
        max(processed_at) as last_order_at,
        count(*) filter (where is_foreign_currency) as foreign_currency_order_count
    from {{ ref('int_orders_classified') }}
    where
        is_counted
        and customer_id is not null
    group by
        shop_id,
        customer_id

)

select
    coalesce(from_orders.shop_id, statistics.shop_id) as shop_id,
    coalesce(from_orders.customer_id, statistics.customer_id) as customer_id,
    from_orders.order_count as order_count_of_orders,
    statistics.order_count,
    from_orders.total_spent as total_spent_of_orders,
    statistics.total_spent,
    coalesce(from_orders.order_count, 0) <> coalesce(statistics.order_count, 0)
    or coalesce(from_orders.total_spent, 0) <> coalesce(statistics.total_spent, 0)
    or coalesce(from_orders.first_order_at, '-infinity')
    <> coalesce(statistics.first_order_at, '-infinity')
    or coalesce(from_orders.last_order_at, '-infinity')
    <> coalesce(statistics.last_order_at, '-infinity')
    or coalesce(from_orders.foreign_currency_order_count, 0)
    <> coalesce(statistics.foreign_currency_order_count, 0) as is_different
from from_orders
full outer join {{ ref('stg_shopify__customer_statistics') }} as statistics
    on
        from_orders.shop_id = statistics.shop_id
        and from_orders.customer_id = statistics.customer_id
