{{ config(meta={'dagster': {'ref': {'name': 'daily_revenue'}}}) }}

-- The tables that a run builds say what the orders say: revenue by day as a whole and in its parts,
-- cohorts as far as a customer is known. Days with an order that came, or changed, after the table
-- was built are left out: the next run has them.
with built as (

    select
        shop_id,
        min(built_at) as built_at
    from {{ ref('daily_revenue') }}
    group by shop_id

),

late_days as (

    select distinct
        orders.shop_id,
        classified.order_date
    from {{ source('raw_shopify', 'orders') }} as orders
    inner join built
        on orders.shop_id = built.shop_id
    inner join {{ ref('int_orders_classified') }} as classified
        on
            orders.shop_id = classified.shop_id
            and orders.order_id = classified.order_id
    where orders.loaded_at >= built.built_at

),

order_days as (

    select
        shop_id,
        order_date,
        count(*) as order_count,
        sum(net_revenue) as net_revenue
    from {{ ref('int_orders_classified') }}
    where is_counted
    group by
        shop_id,
        order_date

),

wrong_days as (

    select
        daily_revenue.shop_id,
        daily_revenue.order_date
    from {{ ref('daily_revenue') }} as daily_revenue
    full outer join order_days
        on
            daily_revenue.shop_id = order_days.shop_id
            and daily_revenue.order_date = order_days.order_date
    left join late_days
        on
            coalesce(daily_revenue.shop_id, order_days.shop_id) = late_days.shop_id
            and coalesce(daily_revenue.order_date, order_days.order_date) = late_days.order_date
    where
        late_days.shop_id is null
        and (
            daily_revenue.shop_id is null
            or daily_revenue.order_count <> coalesce(order_days.order_count, 0)
            or daily_revenue.net_revenue <> coalesce(order_days.net_revenue, 0)
            or daily_revenue.net_revenue
            <> daily_revenue.new_customer_revenue
            + daily_revenue.returning_customer_revenue
            + daily_revenue.guest_revenue
        )

),

-- In the first month everyone of the cohort is active, and later never more.
wrong_cohorts as (

    select
        shop_id,
        cohort_month
    from {{ ref('customer_cohorts') }}
    where
        (month_number = 0 and active_customer_count <> cohort_size)
        or active_customer_count > cohort_size

),

cohort_sums as (

    select
        shop_id,
        sum(net_revenue) as net_revenue,
        sum(order_count) as order_count
    from {{ ref('customer_cohorts') }}
    group by shop_id

),

known_sums as (

    select
        daily_revenue.shop_id,
        sum(daily_revenue.net_revenue - daily_revenue.guest_revenue) as net_revenue,
        sum(daily_revenue.order_count - daily_revenue.guest_order_count) as order_count
    from {{ ref('daily_revenue') }} as daily_revenue
    group by daily_revenue.shop_id

)

select
    shop_id,
    order_date as about,
    'day' as what
from wrong_days
union all
select
    shop_id,
    cohort_month as about,
    'cohort' as what
from wrong_cohorts
union all
-- The two tables are built one after the other: compared only if nothing came in between.
select
    known_sums.shop_id,
    null as about,
    'cohorts and days' as what
from known_sums
left join cohort_sums
    on known_sums.shop_id = cohort_sums.shop_id
where
    (
        known_sums.net_revenue <> coalesce(cohort_sums.net_revenue, 0)
        or known_sums.order_count <> coalesce(cohort_sums.order_count, 0)
    )
    and known_sums.shop_id not in (select late_days.shop_id from late_days)
