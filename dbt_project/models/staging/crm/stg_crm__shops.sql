select
    shop_id,
    domain,
    name as shop_name,
    currency,
    time_zone,
    is_sandbox,
    created_at,
    first_sync_started_at,
    first_sync_completed_at,
    baseline_at
from {{ source('crm', 'shops') }}
