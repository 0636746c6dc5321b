-- Not a join of customer_segments with the customers: that would read all of them twice.
-- A view knows no clock: who has been silent for how long is as of the last accepted full run, each
-- night's, and an order ends the silence at once.
select
    segmented.shop_id,
    segmented.customer_id,
    segmented.email,
    segmented.first_name,
    segmented.last_name,
    segmented.locale,
    segmented.tags,
    segmented.consent_state::text as consent_state,
    segmented.consent_updated_at,
    segmented.created_at,
    segmented.order_count,
    segmented.total_spent,
    segmented.first_order_at,
    segmented.last_order_at,
    segmented.r_score,
    segmented.f_score,
    segmented.m_score,
    segmented.rfm_score,
    segmented.segment,
    segmented.is_scored,
    case
        when segmented.order_count = 0 then 'lead'
        when
            accepted.accepted_date
            - (segmented.last_order_at at time zone accepted.time_zone)::date
            >= {{ var('lapsed_after_days') }}
            then 'lapsed'
        when segmented.order_count = 1 then 'first_time'
        else 'repeat'
    end as lifecycle_stage
from {{ ref('int_customers_segmented') }} as segmented
left join {{ ref('int_shops_last_accepted') }} as accepted
    on segmented.shop_id = accepted.shop_id
