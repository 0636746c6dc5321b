{{
    config(
        materialized='table',
        indexes=[{'columns': ['shop_id', 'order_id'], 'unique': true}],
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- From the clicks, of which there are few, to the orders of who clicked (ix_orders__customer), and
-- never from all orders. Rebuilt whole: a click told late, one that turns out a machine's, a refund
-- and another window all find their way here, in whatever order they come.
with clicks as (

    select
        messages.shop_id,
        messages.message_id,
        messages.automation_id,
        messages.version,
        messages.step_key,
        messages.enrollment_id,
        messages.customer_id,
        messages.queued_at,
        engagements.engaged_at as clicked_at
    from {{ ref('stg_crm__messages') }} as messages
    inner join {{ ref('stg_crm__engagements') }} as engagements
        on
            messages.shop_id = engagements.shop_id
            and messages.message_id = engagements.message_id
    where
        messages.first_clicked_at is not null
        and not messages.is_test
        and messages.customer_id is not null
        and engagements.kind = 'click'
        and not engagements.is_bot
        -- Whoever leaves by the mail was not led to the shop by it.
        and not engagements.is_unsubscribe

)

-- Of several mails the one clicked last has the order; of two in the same instant the later mail.
select distinct on (clicks.shop_id, orders.order_id)
    clicks.shop_id,
    orders.order_id,
    clicks.message_id,
    clicks.automation_id,
    clicks.version,
    clicks.step_key,
    clicks.enrollment_id,
    clicks.customer_id,
    clicks.clicked_at,
    orders.processed_at,
    orders.order_date,
    (clicks.queued_at at time zone shops.time_zone)::date as message_date,
    shops.attribution_days::integer as window_days,
    shops.currency,
    orders.is_foreign_currency,
    orders.net_revenue as revenue,
    {{ built_at() }} as built_at
from clicks
inner join {{ ref('stg_crm__shops') }} as shops
    on clicks.shop_id = shops.shop_id
inner join {{ ref('int_orders_classified') }} as orders
    on
        clicks.shop_id = orders.shop_id
        and clicks.customer_id = orders.customer_id
        and clicks.clicked_at <= orders.processed_at
        and clicks.clicked_at + shops.attribution_days * interval '24 hours'
        >= orders.processed_at
where orders.is_counted
order by
    clicks.shop_id asc,
    orders.order_id asc,
    clicks.clicked_at desc,
    clicks.message_id desc
