select
    shop_id,
    customer_id,
    order_count,
    total_spent,
    first_order_at,
    last_order_at,
    r_score,
    f_score,
    m_score,
    rfm_score,
    segment,
    is_scored,
    rfm_run_id
from {{ ref('int_customers_segmented') }}
