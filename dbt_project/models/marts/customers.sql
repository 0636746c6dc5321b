-- Not a join of customer_segments with the customers: that would read all of them twice.
select
    shop_id,
    customer_id,
    email,
    first_name,
    last_name,
    locale,
    tags,
    consent_state::text as consent_state,
    consent_updated_at,
    created_at,
    order_count,
    total_spent,
    first_order_at,
    last_order_at,
    r_score,
    f_score,
    m_score,
    rfm_score,
    segment,
    is_scored
from {{ ref('int_customers_segmented') }}
