{{ config(meta={'dagster': {'ref': {'name': 'orders'}}}) }}

-- By shop and day, what the mart of orders says is what Shopify told us, summed on its own from the
-- raw tables. One statement, so that orders which come meanwhile are in both or in none.
with raw_days as (

    select
        orders.shop_id,
        (orders.processed_at at time zone shops.time_zone)::date as order_date,
        count(*) as order_count,
        count(*) filter (where orders.is_counted) as counted,
        coalesce(
            sum(orders.current_total) filter (
                where orders.is_counted and orders.currency = shops.currency
            ), 0
        ) as net_revenue
    from {{ source('raw_shopify', 'orders') }} as orders
    inner join {{ ref('stg_crm__shops') }} as shops
        on orders.shop_id = shops.shop_id
    group by
        orders.shop_id,
        order_date

),

mart_days as (

    select
        shop_id,
        order_date,
        count(*) as order_count,
        count(*) filter (where is_counted) as counted,
        sum(net_revenue) as net_revenue
    from {{ ref('orders') }}
    group by
        shop_id,
        order_date

)

select
    coalesce(raw_days.shop_id, mart_days.shop_id) as shop_id,
    coalesce(raw_days.order_date, mart_days.order_date) as order_date,
    raw_days.order_count as raw_order_count,
    mart_days.order_count as mart_order_count,
    raw_days.net_revenue as raw_net_revenue,
    mart_days.net_revenue as mart_net_revenue
from raw_days
full outer join mart_days
    on
        raw_days.shop_id = mart_days.shop_id
        and raw_days.order_date = mart_days.order_date
where
    raw_days.order_count is distinct from mart_days.order_count
    or raw_days.counted is distinct from mart_days.counted
    or raw_days.net_revenue is distinct from mart_days.net_revenue
