{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

-- The day is that on which a mail was owed, of which nothing changes any more: a delivery, click or
-- order of later counts on it, so that the figures of one row are of the same mails.
with mails as (

    select
        messages.shop_id,
        messages.automation_id,
        messages.step_key,
        (messages.queued_at at time zone shops.time_zone)::date as message_date,
        case when messages.state = 'skipped' then messages.skip_reason end as skip_reason,
        count(*) as owed_count,
        count(*) filter (where messages.state = 'skipped') as skipped_count,
        count(*) filter (where messages.state = 'failed') as failed_count,
        count(*) filter (
            where messages.sent_at is not null and messages.state not in ('skipped', 'failed')
        ) as sent_count,
        count(*) filter (where messages.delivered_at is not null) as delivered_count,
        count(*) filter (where messages.first_clicked_at is not null) as clicked_count,
        count(*) filter (where messages.state = 'bounced') as bounced_count,
        count(*) filter (where messages.state = 'complained') as complained_count
    from {{ ref('stg_crm__messages') }} as messages
    inner join {{ ref('stg_crm__shops') }} as shops
        on messages.shop_id = shops.shop_id
    where not messages.is_test
    group by
        messages.shop_id,
        messages.automation_id,
        messages.step_key,
        message_date,
        case when messages.state = 'skipped' then messages.skip_reason end

),

days as (

    select
        shop_id,
        automation_id,
        step_key,
        message_date,
        sum(owed_count) as owed_count,
        coalesce(sum(owed_count) filter (where skip_reason = 'holdout'), 0) as held_out_count,
        coalesce(
            sum(skipped_count) filter (where skip_reason is distinct from 'holdout'), 0
        ) as skipped_count,
        sum(failed_count) as failed_count,
        sum(sent_count) as sent_count,
        sum(delivered_count) as delivered_count,
        sum(clicked_count) as clicked_count,
        sum(bounced_count) as bounced_count,
        sum(complained_count) as complained_count,
        coalesce(
            jsonb_object_agg(skip_reason, owed_count) filter (where skip_reason <> 'holdout'),
            '{}'::jsonb
        ) as skipped_by_reason
    from mails
    group by
        shop_id,
        automation_id,
        step_key,
        message_date

),

credits as (

    select
        shop_id,
        automation_id,
        step_key,
        message_date,
        count(*) as order_count,
        sum(revenue) as revenue
    from {{ ref('attributed_orders') }}
    group by
        shop_id,
        automation_id,
        step_key,
        message_date

)

select
    days.shop_id,
    days.automation_id,
    days.step_key,
    days.message_date,
    automations.automation_key,
    shops.currency,
    days.owed_count::bigint as owed_count,
    days.held_out_count::bigint as held_out_count,
    days.skipped_count::bigint as skipped_count,
    days.failed_count::bigint as failed_count,
    (
        days.owed_count
        - days.held_out_count
        - days.skipped_count
        - days.failed_count
        - days.sent_count
    )::bigint as waiting_count,
    days.sent_count::bigint as sent_count,
    days.delivered_count::bigint as delivered_count,
    days.clicked_count::bigint as clicked_count,
    days.bounced_count::bigint as bounced_count,
    days.complained_count::bigint as complained_count,
    coalesce(credits.order_count, 0)::bigint as order_count,
    coalesce(credits.revenue, 0)::numeric(20, 4) as revenue,
    (coalesce(credits.revenue, 0) / nullif(days.sent_count, 0))::numeric(20, 4)
        as revenue_per_recipient,
    days.skipped_by_reason,
    {{ built_at() }} as built_at
from days
inner join {{ ref('stg_crm__shops') }} as shops
    on days.shop_id = shops.shop_id
inner join {{ ref('stg_crm__automations') }} as automations
    on
        days.shop_id = automations.shop_id
        and days.automation_id = automations.automation_id
left join credits
    on
        days.shop_id = credits.shop_id
        and days.automation_id = credits.automation_id
        and days.step_key = credits.step_key
        and days.message_date = credits.message_date
