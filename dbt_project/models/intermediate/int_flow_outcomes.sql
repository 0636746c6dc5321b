{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- A table, because it reads one: a view would go with it each time it is rebuilt.
-- Both arms are looked at alike: from the instant at which the first mail was owed, whether it then
-- left, waited, was skipped or held out, for as long as an order could be credited. Only the first
-- mail of a person's first entry: whether there is a second may be the first one's doing.
with versions as (

    select
        shop_id,
        automation_id,
        version,
        coalesce((definition ->> 'holdout_percent')::integer, 0) as holdout_percent
    from {{ ref('stg_crm__automation_versions') }}

),

-- Held out in one share all the time: with another mix of the arms each would be of another time.
comparable as (

    select
        versions.shop_id,
        versions.automation_id,
        versions.version,
        versions.holdout_percent
    from {{ ref('stg_crm__automations') }} as automations
    inner join versions as present
        on
            automations.shop_id = present.shop_id
            and automations.automation_id = present.automation_id
            and automations.current_version = present.version
    inner join versions
        on
            present.shop_id = versions.shop_id
            and present.automation_id = versions.automation_id
            and present.holdout_percent = versions.holdout_percent
    where present.holdout_percent > 0

),

firsts as (

    select distinct on (messages.shop_id, messages.automation_id, messages.customer_id)
        messages.shop_id,
        messages.automation_id,
        messages.customer_id,
        messages.queued_at as owed_at,
        enrollments.version,
        enrollments.is_held_out
    from {{ ref('stg_crm__messages') }} as messages
    inner join {{ ref('stg_crm__enrollments') }} as enrollments
        on
            messages.shop_id = enrollments.shop_id
            and messages.enrollment_id = enrollments.enrollment_id
    where
        not messages.is_test
        and not enrollments.is_test
        and messages.customer_id is not null
        and exists (
            select 1
            from comparable
            where
                comparable.shop_id = messages.shop_id
                and comparable.automation_id = messages.automation_id
        )
    order by
        messages.shop_id,
        messages.automation_id,
        messages.customer_id,
        messages.queued_at,
        messages.message_id

),

-- Up to which instant orders are known: that of the run, without one that of the last order.
observed as (

    select
        shops.shop_id,
        shops.attribution_days,
        coalesce(
            {{ as_of() }},
            (
                select max(orders.processed_at)
                from {{ ref('stg_shopify__orders') }} as orders
                where orders.shop_id = shops.shop_id
            )
        ) as observed_at
    from {{ ref('stg_crm__shops') }} as shops

),

people as (

    select
        firsts.shop_id,
        firsts.automation_id,
        firsts.customer_id,
        firsts.is_held_out,
        firsts.owed_at,
        firsts.owed_at + observed.attribution_days * interval '24 hours' as window_ends_at,
        comparable.holdout_percent,
        observed.attribution_days::integer as window_days
    from firsts
    inner join comparable
        on
            firsts.shop_id = comparable.shop_id
            and firsts.automation_id = comparable.automation_id
            and firsts.version = comparable.version
    inner join observed
        on firsts.shop_id = observed.shop_id
    where
        firsts.owed_at + observed.attribution_days * interval '24 hours' <= observed.observed_at

)

select
    people.shop_id,
    people.automation_id,
    people.customer_id,
    people.is_held_out,
    people.owed_at,
    people.window_ends_at,
    people.holdout_percent,
    people.window_days,
    count(orders.order_id)::integer as order_count,
    coalesce(sum(orders.net_revenue), 0)::numeric(20, 4) as revenue,
    count(credits.order_id)::integer as credited_order_count,
    coalesce(sum(credits.revenue), 0)::numeric(20, 4) as credited_revenue
from people
left join {{ ref('int_orders_classified') }} as orders
    on
        people.shop_id = orders.shop_id
        and people.customer_id = orders.customer_id
        and orders.is_counted
        and people.owed_at <= orders.processed_at
        and people.window_ends_at > orders.processed_at
left join {{ ref('attributed_orders') }} as credits
    on
        orders.shop_id = credits.shop_id
        and orders.order_id = credits.order_id
        and people.automation_id = credits.automation_id
group by
    people.shop_id,
    people.automation_id,
    people.customer_id,
    people.is_held_out,
    people.owed_at,
    people.window_ends_at,
    people.holdout_percent,
    people.window_days
