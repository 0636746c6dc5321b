select
    shop_id,
    write_back_id,
    customer_id,
    kind,
    tag,
    consent_state,
    state,
    attempts as attempt_count,
    requested_at,
    consent_at,
    next_attempt_at,
    finished_at
from {{ source('crm', 'write_backs') }}
