-- The scores are read from the segment table, which has just been found by them: PostgreSQL would
-- work each of them out a second time, a quarter of the time of reading everybody.
select
    scored.shop_id,
    scored.customer_id,
    scored.email,
    scored.first_name,
    scored.last_name,
    scored.locale,
    scored.tags,
    scored.consent_state,
    scored.consent_updated_at,
    scored.created_at,
    scored.order_count,
    scored.total_spent,
    scored.first_order_at,
    scored.last_order_at,
    coalesce(segments.r_score, scored.r_score) as r_score,
    coalesce(segments.f_score, scored.f_score) as f_score,
    coalesce(segments.m_score, scored.m_score) as m_score,
    scored.rfm_score,
    scored.is_scored,
    scored.rfm_run_id,
    case when scored.is_scored then segments.segment else 'potential' end as segment
from {{ ref('int_customers_scored_by_boundaries') }} as scored
left join {{ ref('rfm_segments') }} as segments
    on
        scored.r_score = segments.r_score
        and scored.f_score = segments.f_score
        and scored.m_score = segments.m_score
