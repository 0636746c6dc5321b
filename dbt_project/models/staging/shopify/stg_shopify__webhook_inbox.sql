-- Neither the body nor its error: both may hold somebody's data.
select
    shop_id,
    webhook_id,
    topic,
    event_id,
    api_version,
    state,
    attempts as attempt_count,
    triggered_at,
    received_at,
    next_attempt_at,
    applied_at
from {{ source('raw_shopify', 'webhook_inbox') }}
