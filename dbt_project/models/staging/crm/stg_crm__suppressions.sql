select
    shop_id,
    email_normalized,
    reason,
    message_id,
    lifted_at is null as is_in_force,
    suppressed_at,
    lifted_at
from {{ source('crm', 'suppressions') }}
