-- From the day of the first order to today: the day of the run, or of the last order or refund
-- where that is later (a build without `as_of` knows no today).
with order_days as (

    select
        shop_id,
        min(order_date) as first_date,
        max(order_date) as last_date
    from {{ ref('int_orders_classified') }}
    where is_counted
    group by shop_id

),

last_refunds as (

    select
        shop_id,
        max(processed_at) as processed_at
    from {{ ref('stg_shopify__refunds') }}
    group by shop_id

)

select
    shops.shop_id,
    shops.currency,
    shops.time_zone,
    order_days.first_date,
    greatest(
        order_days.last_date,
        (last_refunds.processed_at at time zone shops.time_zone)::date,
        ({{ as_of() }} at time zone shops.time_zone)::date
    ) as last_date
from {{ ref('stg_crm__shops') }} as shops
inner join order_days
    on shops.shop_id = order_days.shop_id
left join last_refunds
    on shops.shop_id = last_refunds.shop_id
