select
    shop_id,
    automation_id,
    key as automation_key,
    name as automation_name,
    is_active,
    current_version,
    switched_on_at,
    created_at
from {{ source('crm', 'automations') }}
