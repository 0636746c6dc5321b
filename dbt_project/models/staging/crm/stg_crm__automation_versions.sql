select
    shop_id,
    automation_id,
    version,
    definition,
    created_by as created_by_user_id,
    created_at
from {{ source('crm', 'automation_versions') }}
