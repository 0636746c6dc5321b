{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- A check is a claim that is true when all is well. Its measure counts what speaks against it, but
-- for the sync's age in hours.
with checks as (

    select *
    from (
        values
        ('sync_is_recent', 'hours', 26, 'Hours since the last complete sync with Shopify.'),
        (
            'statistics_equal_orders', 'customers', 0,
            'Customers whose order statistics differ from their orders; scores rest on them.'
        ),
        (
            'orders_are_in_the_shops_currency', 'orders', 0,
            'Orders that count and are in another currency; their amount is in no sum.'
        ),
        (
            'orders_have_a_known_customer', 'orders', 0,
            'Orders of a customer whom we have not read yet; they are in no mart of customers.'
        ),
        ('order_lines_have_an_order', 'lines', 0, 'Line items whose order is not here.'),
        ('refunds_have_an_order', 'refunds', 0, 'Refunds whose order is not here.'),
        ('webhooks_are_applied', 'webhooks', 0, 'Webhooks that could not be applied.'),
        (
            'lines_are_read', 'lines', 0,
            'Lines that the last complete sync could not read.'
        ),
        (
            'objects_are_refreshed', 'objects', 0,
            'Objects that could not be read from Shopify and were given up.'
        ),
        (
            'segments_are_not_held', 'holds', 0,
            'The data gate found something; nobody changes segment until a person accepts it.'
        ),
        (
            'buyers_are_scored', 'customers', 0,
            'Customers with an order and without a score; the shop has no boundaries in force.'
        ),
        (
            'consent_is_known', 'customers', null,
            'Customers of whom Shopify has not told us the consent; they are not mailed.'
        )
    ) as listed (check_name, unit, limit_value, meaning)

),

last_syncs as (

    select distinct on (shop_id)
        shop_id,
        lines_rejected,
        finished_at
    from {{ ref('stg_shopify__sync_runs') }}
    where
        state = 'completed'
        and kind <> 'reconcile'
    order by shop_id asc, finished_at desc, sync_run_id desc

),

order_measures as (

    select
        orders.shop_id,
        count(*) filter (where orders.is_counted and orders.is_foreign_currency)
            as foreign_currency,
        count(*) filter (
            where orders.customer_id is not null and customers.customer_id is null
        ) as unknown_customer
    from {{ ref('int_orders_classified') }} as orders
    left join {{ ref('stg_shopify__customers') }} as customers
        on
            orders.shop_id = customers.shop_id
            and orders.customer_id = customers.customer_id
    group by orders.shop_id

),

customer_measures as (

    select
        shop_id,
        count(*) filter (where order_count > 0 and not is_scored) as unscored_buyers,
        count(*) filter (where consent_state is null) as unknown_consent
    from {{ ref('customers') }}
    group by shop_id

),

measures as (

    select
        shop_id,
        'sync_is_recent' as check_name,
        round(extract(epoch from {{ as_of() }} - finished_at) / 3600, 1) as measure
    from last_syncs
    union all
    select
        shop_id,
        'statistics_equal_orders' as check_name,
        count(*) as measure
    from {{ ref('int_customer_statistics_compared') }}
    where is_different
    group by shop_id
    union all
    select
        shop_id,
        'orders_are_in_the_shops_currency' as check_name,
        foreign_currency as measure
    from order_measures
    union all
    select
        shop_id,
        'orders_have_a_known_customer' as check_name,
        unknown_customer as measure
    from order_measures
    union all
    select
        lines.shop_id,
        'order_lines_have_an_order' as check_name,
        count(*) as measure
    from {{ ref('stg_shopify__order_lines') }} as lines
    left join {{ ref('stg_shopify__orders') }} as orders
        on
            lines.shop_id = orders.shop_id
            and lines.order_id = orders.order_id
    where orders.order_id is null
    group by lines.shop_id
    union all
    select
        refunds.shop_id,
        'refunds_have_an_order' as check_name,
        count(*) as measure
    from {{ ref('stg_shopify__refunds') }} as refunds
    left join {{ ref('stg_shopify__orders') }} as orders
        on
            refunds.shop_id = orders.shop_id
            and refunds.order_id = orders.order_id
    where orders.order_id is null
    group by refunds.shop_id
    union all
    select
        shop_id,
        'webhooks_are_applied' as check_name,
        count(*) as measure
    from {{ ref('stg_shopify__webhook_inbox') }}
    where state = 'failed'
    group by shop_id
    union all
    select
        shop_id,
        'lines_are_read' as check_name,
        lines_rejected as measure
    from last_syncs
    union all
    select
        shop_id,
        'objects_are_refreshed' as check_name,
        count(*) as measure
    from {{ ref('stg_shopify__refresh_requests') }}
    where is_given_up
    group by shop_id
    union all
    select
        shop_id,
        'segments_are_not_held' as check_name,
        1 as measure
    from {{ ref('stg_crm__shops') }}
    where segments_held_at is not null
    union all
    select
        shop_id,
        'buyers_are_scored' as check_name,
        unscored_buyers as measure
    from customer_measures
    union all
    select
        shop_id,
        'consent_is_known' as check_name,
        unknown_consent as measure
    from customer_measures

)

select
    shops.shop_id,
    checks.check_name,
    coalesce(measures.measure, case when checks.unit <> 'hours' then 0 end)::numeric(20, 1)
        as measure,
    checks.unit,
    checks.limit_value::numeric(20, 1) as limit_value,
    -- Never synced is not recent; without a limit, or without a time to compare, it is no matter of
    -- right or wrong.
    case
        when checks.limit_value is null then null
        when checks.check_name = 'sync_is_recent' and last_syncs.shop_id is null then false
        when checks.check_name = 'sync_is_recent' then measures.measure <= checks.limit_value
        else coalesce(measures.measure, 0) <= checks.limit_value
    end as is_healthy,
    checks.meaning,
    {{ as_of() }} as checked_at,
    {{ built_at() }} as built_at
from {{ ref('stg_crm__shops') }} as shops
cross join checks
left join measures
    on
        shops.shop_id = measures.shop_id
        and checks.check_name = measures.check_name
left join last_syncs
    on shops.shop_id = last_syncs.shop_id
-- Nothing is read any more of a shop that removed the app.
where shops.uninstalled_at is null
