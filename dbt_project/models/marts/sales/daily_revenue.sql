{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- Two steps, day and customer first: counting distinct customers of each day in one would sort all
-- orders.
with customer_days as (

    select
        shop_id,
        order_date,
        customer_id,
        count(*) as order_count,
        count(*) filter (where is_foreign_currency) as foreign_currency_order_count,
        sum(gross_revenue) as gross_revenue,
        sum(net_revenue) as net_revenue
    from {{ ref('int_orders_classified') }}
    where is_counted
    group by
        shop_id,
        order_date,
        customer_id

),

-- New is a customer on the whole day of their first order.
recognised as (

    select
        customer_days.*,
        coalesce(
            (statistics.first_order_at at time zone shops.time_zone)::date
            = customer_days.order_date,
            false
        ) as is_new
    from customer_days
    inner join {{ ref('stg_crm__shops') }} as shops
        on customer_days.shop_id = shops.shop_id
    left join {{ ref('stg_shopify__customer_statistics') }} as statistics
        on
            customer_days.shop_id = statistics.shop_id
            and customer_days.customer_id = statistics.customer_id

),

sales as (

    select
        shop_id,
        order_date,
        sum(order_count) as order_count,
        sum(foreign_currency_order_count) as foreign_currency_order_count,
        coalesce(sum(order_count) filter (where customer_id is null), 0) as guest_order_count,
        count(customer_id) as customer_count,
        count(*) filter (where is_new) as new_customer_count,
        sum(gross_revenue) as gross_revenue,
        sum(net_revenue) as net_revenue,
        coalesce(sum(net_revenue) filter (where is_new), 0) as new_customer_revenue,
        coalesce(
            sum(net_revenue) filter (where customer_id is not null and not is_new), 0
        ) as returning_customer_revenue,
        coalesce(sum(net_revenue) filter (where customer_id is null), 0) as guest_revenue
    from recognised
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
    coalesce(sales.customer_count, 0)::bigint as customer_count,
    coalesce(sales.new_customer_count, 0)::bigint as new_customer_count,
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
left join refunds
    on
        days.shop_id = refunds.shop_id
        and days.order_date = refunds.refund_date
