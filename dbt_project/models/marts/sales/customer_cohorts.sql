{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- A cohort is fixed by the first order that counts, whatever its currency. Guests are in none.
with customers as (

    select
        statistics.shop_id,
        statistics.customer_id,
        date_trunc('month', statistics.first_order_at at time zone shops.time_zone)::date
            as cohort_month
    from {{ ref('stg_shopify__customer_statistics') }} as statistics
    inner join {{ ref('stg_crm__shops') }} as shops
        on statistics.shop_id = shops.shop_id
    where statistics.order_count > 0

),

customer_months as (

    select
        shop_id,
        customer_id,
        date_trunc('month', order_date)::date as order_month,
        count(*) as order_count,
        sum(net_revenue) as net_revenue
    from {{ ref('int_orders_classified') }}
    where
        is_counted
        and customer_id is not null
    group by
        shop_id,
        customer_id,
        order_month

),

active as (

    select
        customers.shop_id,
        customers.cohort_month,
        customer_months.order_month,
        count(*) as active_customer_count,
        sum(customer_months.order_count) as order_count,
        sum(customer_months.net_revenue) as net_revenue
    from customers
    inner join customer_months
        on
            customers.shop_id = customer_months.shop_id
            and customers.customer_id = customer_months.customer_id
    group by
        customers.shop_id,
        customers.cohort_month,
        customer_months.order_month

),

cohorts as (

    select
        shop_id,
        cohort_month,
        count(*) as cohort_size
    from customers
    group by
        shop_id,
        cohort_month

),

-- Every month from the first to the present one, also those in which nobody of the cohort ordered.
months as (

    select
        cohorts.shop_id,
        cohorts.cohort_month,
        cohorts.cohort_size,
        observed.currency,
        observed.last_date,
        month.at::date as order_month,
        (
            12 * (extract(year from month.at) - extract(year from cohorts.cohort_month))
            + extract(month from month.at) - extract(month from cohorts.cohort_month)
        ) as month_number
    from cohorts
    inner join {{ ref('int_shops_observed') }} as observed
        on cohorts.shop_id = observed.shop_id
    cross join
        generate_series(
            cohorts.cohort_month::timestamp, observed.last_date::timestamp, interval '1 month'
        ) as month (at)

)

select
    months.shop_id,
    months.cohort_month,
    months.month_number::smallint as month_number,
    months.order_month,
    months.currency,
    months.cohort_size::bigint as cohort_size,
    coalesce(active.active_customer_count, 0)::bigint as active_customer_count,
    (coalesce(active.active_customer_count, 0)::numeric / months.cohort_size)::numeric(7, 6)
        as retention_rate,
    coalesce(active.order_count, 0)::bigint as order_count,
    coalesce(active.net_revenue, 0)::numeric(20, 4) as net_revenue,
    (sum(coalesce(active.order_count, 0)) over so_far)::bigint as cumulative_order_count,
    (sum(coalesce(active.net_revenue, 0)) over so_far)::numeric(20, 4) as cumulative_revenue,
    (sum(coalesce(active.net_revenue, 0)) over so_far / months.cohort_size)::numeric(20, 4)
        as cumulative_revenue_per_customer,
    months.last_date >= (months.order_month + interval '1 month')::date as is_complete,
    {{ built_at() }} as built_at
from months
left join active
    on
        months.shop_id = active.shop_id
        and months.cohort_month = active.cohort_month
        and months.order_month = active.order_month
window so_far as (
    partition by months.shop_id, months.cohort_month
    order by months.month_number
)
