select
    shop_id,
    object_type,
    object_id,
    reason,
    attempts as attempt_count,
    next_attempt_at is null as is_given_up,
    requested_at,
    next_attempt_at
from {{ source('raw_shopify', 'refresh_requests') }}
