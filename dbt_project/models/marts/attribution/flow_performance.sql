{{ config(materialized='table') }}

-- People count on the day on which they were enrolled, mails and what they earned on the day on
-- which the mails were owed.
with people as (

    select
        enrollments.shop_id,
        enrollments.automation_id,
        (enrollments.enrolled_at at time zone shops.time_zone)::date as activity_date,
        count(*) filter (where enrollments.state <> 'too_late') as enrolled_count,
        count(*) filter (
            where enrollments.state <> 'too_late' and enrollments.is_held_out
        ) as enrolled_held_out_count,
        count(*) filter (where enrollments.state = 'too_late') as too_late_count
    from {{ ref('stg_crm__enrollments') }} as enrollments
    inner join {{ ref('stg_crm__shops') }} as shops
        on enrollments.shop_id = shops.shop_id
    where not enrollments.is_test
    group by
        enrollments.shop_id,
        enrollments.automation_id,
        activity_date

),

mails as (

    select
        shop_id,
        automation_id,
        message_date as activity_date,
        sum(owed_count) as owed_count,
        sum(held_out_count) as held_out_count,
        sum(skipped_count) as skipped_count,
        sum(failed_count) as failed_count,
        sum(waiting_count) as waiting_count,
        sum(sent_count) as sent_count,
        sum(delivered_count) as delivered_count,
        sum(clicked_count) as clicked_count,
        sum(bounced_count) as bounced_count,
        sum(complained_count) as complained_count,
        sum(order_count) as order_count,
        sum(revenue) as revenue
    from {{ ref('step_performance') }}
    group by
        shop_id,
        automation_id,
        message_date

),

reasons as (

    select
        steps.shop_id,
        steps.automation_id,
        steps.message_date as activity_date,
        reason.skip_reason,
        sum(reason.skipped_count::bigint) as skipped_count
    from {{ ref('step_performance') }} as steps
    cross join
        lateral jsonb_each_text(steps.skipped_by_reason) as reason (skip_reason, skipped_count)
    group by
        steps.shop_id,
        steps.automation_id,
        steps.message_date,
        reason.skip_reason

),

skips as (

    select
        shop_id,
        automation_id,
        activity_date,
        jsonb_object_agg(skip_reason, skipped_count) as skipped_by_reason
    from reasons
    group by
        shop_id,
        automation_id,
        activity_date

),

days as (

    select
        shop_id,
        automation_id,
        activity_date
    from people
    union distinct
    select
        shop_id,
        automation_id,
        activity_date
    from mails

)

select
    days.shop_id,
    days.automation_id,
    days.activity_date,
    automations.automation_key,
    shops.currency,
    coalesce(people.enrolled_count, 0)::bigint as enrolled_count,
    coalesce(people.enrolled_held_out_count, 0)::bigint as enrolled_held_out_count,
    coalesce(people.too_late_count, 0)::bigint as too_late_count,
    coalesce(mails.owed_count, 0)::bigint as owed_count,
    coalesce(mails.held_out_count, 0)::bigint as held_out_count,
    coalesce(mails.skipped_count, 0)::bigint as skipped_count,
    coalesce(mails.failed_count, 0)::bigint as failed_count,
    coalesce(mails.waiting_count, 0)::bigint as waiting_count,
    coalesce(mails.sent_count, 0)::bigint as sent_count,
    coalesce(mails.delivered_count, 0)::bigint as delivered_count,
    coalesce(mails.clicked_count, 0)::bigint as clicked_count,
    coalesce(mails.bounced_count, 0)::bigint as bounced_count,
    coalesce(mails.complained_count, 0)::bigint as complained_count,
    coalesce(mails.order_count, 0)::bigint as order_count,
    coalesce(mails.revenue, 0)::numeric(20, 4) as revenue,
    (mails.revenue / nullif(mails.sent_count, 0))::numeric(20, 4) as revenue_per_recipient,
    coalesce(skips.skipped_by_reason, '{}'::jsonb) as skipped_by_reason,
    {{ built_at() }} as built_at
from days
inner join {{ ref('stg_crm__shops') }} as shops
    on days.shop_id = shops.shop_id
inner join {{ ref('stg_crm__automations') }} as automations
    on
        days.shop_id = automations.shop_id
        and days.automation_id = automations.automation_id
left join people
    on
        days.shop_id = people.shop_id
        and days.automation_id = people.automation_id
        and days.activity_date = people.activity_date
left join mails
    on
        days.shop_id = mails.shop_id
        and days.automation_id = mails.automation_id
        and days.activity_date = mails.activity_date
left join skips
    on
        days.shop_id = skips.shop_id
        and days.automation_id = skips.automation_id
        and days.activity_date = skips.activity_date
