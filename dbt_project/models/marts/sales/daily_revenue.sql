{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- All orders are read twice, and little is kept of them: sums by day and kind of buyer, which is
-- some thousands of rows, and who ordered on a day, without amounts. Grouping by day and customer
-- with the sums beside held half a gigabyte for a million orders.
with sums as (

    -- New is a customer on the whole day of their first order.
    select
        orders.shop_id,
        orders.order_date,
        case
            when orders.customer_id is null then 'guest'
            when
                (statistics.first_order_at at time zone shops.time_zone)::date = orders.order_date
                then 'new'
            else 'returning'
        end as buyer,
        count(*) as order_count,
        count(*) filter (where orders.is_foreign_currency) as foreign_currency_order_count,
        sum(orders.gross_revenue) as gross_revenue,
        sum(orders.net_revenue) as net_revenue
    from {{ ref('int_orders_classified') }} as orders
    inner join {{ ref('stg_crm__shops') }} as shops
        on orders.shop_id = shops.shop_id
    left join {{ ref('stg_shopify__customer_statistics') }} as statistics
        on
            orders.shop_id = statistics.shop_id
            and orders.customer_id = statistics.customer_id
    where orders.is_counted
    group by
        orders.shop_id,
        orders.order_date,
        buyer

),

-- One row per day and customer who ordered on it.
buyers as (

    select distinct
        shop_id,
        order_date,
        customer_id
    from {{ ref('int_orders_classified') }}
    where
        is_counted
        and customer_id is not null

),

people as (

    select
        shop_id,
        order_date,
        count(*) as customer_count
    from buyers
    group by
        shop_id,
        order_date

),

-- A customer is new on one day only, and ordered on it.
newcomers as (

    select
        statistics.shop_id,
        (statistics.first_order_at at time zone shops.time_zone)::date as order_date,
        count(*) as new_customer_count
    from {{ ref('stg_shopify__customer_statistics') }} as statistics
    inner join {{ ref('stg_crm__shops') }} as shops
        on statistics.shop_id = shops.shop_id
    where statistics.first_order_at is not null
    group by
        statistics.shop_id,
        (statistics.first_order_at at time zone shops.time_zone)::date

),

sales as (

    select
        shop_id,
        order_date,
        sum(order_count) as order_count,
        sum(foreign_currency_order_count) as foreign_currency_order_count,
        coalesce(sum(order_count) filter (where buyer = 'guest'), 0) as guest_order_count,
        sum(gross_revenue) as gross_revenue,
        sum(net_revenue) as net_revenue,
        coalesce(sum(net_revenue) filter (where buyer = 'new'), 0) as new_customer_revenue,
        coalesce(sum(net_revenue) filter (where buyer = 'returning'), 0)
            as returning_customer_revenue,
        coalesce(sum(net_revenue) filter (where buyer = 'guest'), 0) as guest_revenue
    from sums
    group by
        shop_id,
        order_date

),

refunds as (

    select
        refunds.shop_id,
        (refunds.processed_at at time zone shops.time_zone)::date as refund_date,
        sum(refunds.amount) as refunded_amount
    from {{ ref('stg_shopify__refunds') }} as refunds
    inner join {{ ref('stg_shopify__orders') }} as orders
        on
            refunds.shop_id = orders.shop_id
            and refunds.order_id = orders.order_id
    inner join {{ ref('stg_crm__shops') }} as shops
        on refunds.shop_id = shops.shop_id
    where
        not orders.is_test
        and refunds.currency = shops.currency
    group by
        refunds.shop_id,
        refund_date

),

-- A day without orders is a day, with zeros; else averages over days would leave it out.
days as (

    select
        observed.shop_id,
        observed.currency,
        day.at::date as order_date
    from {{ ref('int_shops_observed') }} as observed
    cross join
        generate_series(
            observed.first_date::timestamp, observed.last_date::timestamp, interval '1 day'
        ) as day (at)

)

select
    days.shop_id,
    days.order_date,
    days.currency,
    coalesce(sales.order_count, 0)::bigint as order_count,
    coalesce(people.customer_count, 0)::bigint as customer_count,
    coalesce(newcomers.new_customer_count, 0)::bigint as new_customer_count,
    coalesce(sales.guest_order_count, 0)::bigint as guest_order_count,
    coalesce(sales.foreign_currency_order_count, 0)::bigint as foreign_currency_order_count,
    coalesce(sales.gross_revenue, 0)::numeric(20, 4) as gross_revenue,
    coalesce(sales.net_revenue, 0)::numeric(20, 4) as net_revenue,
    coalesce(sales.new_customer_revenue, 0)::numeric(20, 4) as new_customer_revenue,
    coalesce(sales.returning_customer_revenue, 0)::numeric(20, 4) as returning_customer_revenue,
    coalesce(sales.guest_revenue, 0)::numeric(20, 4) as guest_revenue,
    coalesce(refunds.refunded_amount, 0)::numeric(20, 4) as refunded_amount,
    {{ built_at() }} as built_at
from days
left join sales
    on
        days.shop_id = sales.shop_id
        and days.order_date = sales.order_date
left join people
    on
        days.shop_id = people.shop_id
        and days.order_date = people.order_date
left join newcomers
    on
        days.shop_id = newcomers.shop_id
        and days.order_date = newcomers.order_date
left join refunds
    on
        days.shop_id = refunds.shop_id
        and days.order_date = refunds.refund_date
