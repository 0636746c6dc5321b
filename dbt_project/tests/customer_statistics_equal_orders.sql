-- The statistics that every score rests on are those of the orders. A customer without an order
-- that counts may have a row of zeros or none.
with from_orders as (

    select
        orders.shop_id,
        orders.customer_id,
        count(*) as order_count,
        coalesce(
            sum(orders.current_total) filter (where orders.currency = shops.currency), 0
        ) as total_spent,
        min(orders.processed_at) as first_order_at,
        max(orders.processed_at) as last_order_at,
        count(*) filter (where orders.currency <> shops.currency) as foreign_currency_order_count
    from {{ ref('stg_shopify__orders') }} as orders
    inner join {{ ref('stg_crm__shops') }} as shops
        on orders.shop_id = shops.shop_id
    where
        orders.is_counted
        and orders.customer_id is not null
    group by
        orders.shop_id,
        orders.customer_id

)

select
    coalesce(from_orders.shop_id, statistics.shop_id) as shop_id,
    coalesce(from_orders.customer_id, statistics.customer_id) as customer_id,
    from_orders.order_count as order_count_of_orders,
    statistics.order_count,
    from_orders.total_spent as total_spent_of_orders,
    statistics.total_spent
from from_orders
full outer join {{ ref('stg_shopify__customer_statistics') }} as statistics
    on
        from_orders.shop_id = statistics.shop_id
        and from_orders.customer_id = statistics.customer_id
where
    coalesce(from_orders.order_count, 0) <> coalesce(statistics.order_count, 0)
    or coalesce(from_orders.total_spent, 0) <> coalesce(statistics.total_spent, 0)
    or from_orders.first_order_at is distinct from statistics.first_order_at
    or from_orders.last_order_at is distinct from statistics.last_order_at
    or coalesce(from_orders.foreign_currency_order_count, 0)
    <> coalesce(statistics.foreign_currency_order_count, 0)
