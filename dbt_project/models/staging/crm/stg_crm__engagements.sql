-- Without network, program and address followed: whether it was the link to unsubscribe is all that
-- is asked of it.
select
    shop_id,
    message_id,
    engagement_key,
    kind,
    source,
    coalesce(kind = 'click' and url like '%/unsubscribe/%', false) as is_unsubscribe,
    is_trap,
    is_bot,
    bot_reason,
    engaged_at,
    recorded_at
from {{ source('crm', 'engagements') }}
