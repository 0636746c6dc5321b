-- Of an erased person the stay is kept under the negative number of the row, which is nobody's.
select
    shop_id,
    membership_id,
    case when customer_id > 0 then customer_id end as customer_id,
    customer_id < 0 as is_erased,
    segment,
    previous_segment,
    cause,
    run_id,
    rfm_run_id,
    r_score,
    f_score,
    m_score,
    entered_at,
    exited_at,
    exit_cause,
    exit_run_id
from {{ source('crm', 'segment_memberships') }}
