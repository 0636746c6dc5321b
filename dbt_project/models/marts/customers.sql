select
    customers.shop_id,
    customers.customer_id,
    customers.email,
    customers.first_name,
    customers.last_name,
    customers.locale,
    customers.tags,
    customers.consent_state::text as consent_state,
    customers.consent_updated_at,
    customers.created_at,
    segments.order_count,
    segments.total_spent,
    segments.first_order_at,
    segments.last_order_at,
    segments.r_score,
    segments.f_score,
    segments.m_score,
    segments.rfm_score,
    segments.segment,
    segments.is_scored
from {{ ref('customer_segments') }} as segments
inner join {{ ref('stg_shopify__customers') }} as customers
    on
        segments.shop_id = customers.shop_id
        and segments.customer_id = customers.customer_id
