-- Intervals: whoever was in a segment at an instant has entered_at <= it and exited_at after it or
-- null. Rows of erased people stay, as nobody's, so that sizes at past dates do not change.
-- `is_quick_return` is looked up row by row (ix_segment_memberships__customer) and costs nothing
-- where it is not selected.
select
    memberships.shop_id,
    memberships.membership_id,
    memberships.customer_id,
    memberships.is_erased,
    memberships.segment::text as segment,
    memberships.previous_segment::text as previous_segment,
    memberships.cause::text as cause,
    memberships.rfm_run_id,
    memberships.r_score,
    memberships.f_score,
    memberships.m_score,
    memberships.entered_at,
    memberships.exited_at,
    (memberships.entered_at at time zone shops.time_zone)::date as entered_date,
    (memberships.exited_at at time zone shops.time_zone)::date as exited_date,
    memberships.exited_at is null as is_current,
    memberships.exit_cause::text as exit_cause,
    exists(
        select 1
        from {{ ref('stg_crm__segment_memberships') }} as earlier
        where
            earlier.shop_id = memberships.shop_id
            and earlier.customer_id = memberships.customer_id
            and earlier.segment = memberships.segment
            and earlier.membership_id <> memberships.membership_id
            and earlier.exited_at <= memberships.entered_at
            and earlier.exited_at >= memberships.entered_at - interval '7 days'
    ) as is_quick_return
from {{ ref('stg_crm__segment_memberships') }} as memberships
inner join {{ ref('stg_crm__shops') }} as shops
    on memberships.shop_id = shops.shop_id
