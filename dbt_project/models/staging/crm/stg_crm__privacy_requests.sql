-- Neither whom it is about nor the answer.
select
    shop_id,
    privacy_request_id,
    kind,
    state,
    attempts as attempt_count,
    requested_at,
    due_at,
    next_attempt_at,
    finished_at
from {{ source('crm', 'privacy_requests') }}
