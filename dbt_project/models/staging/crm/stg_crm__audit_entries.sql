select
    shop_id,
    audit_entry_id,
    user_id,
    action,
    about,
    reason,
    figures,
    acted_at
from {{ source('crm', 'audit_entries') }}
