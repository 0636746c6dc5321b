select
    scores.shop_id,
    scores.customer_id,
    scores.order_count,
    scores.total_spent,
    scores.first_order_at,
    scores.last_order_at,
    scores.r_score,
    scores.f_score,
    scores.m_score,
    scores.rfm_score,
    case when scores.is_scored then segments.segment else 'potential' end as segment,
    scores.is_scored,
    scores.rfm_run_id
from {{ ref('customer_rfm') }} as scores
left join {{ ref('rfm_segments') }} as segments
    on
        scores.r_score = segments.r_score
        and scores.f_score = segments.f_score
        and scores.m_score = segments.m_score
