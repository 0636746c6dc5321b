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
    baseline_at,
    uninstalled_at,
    segments_held_at,
    segments_held_check,
    segments_held_reason,
    segments_held_run_id as segments_held_rfm_run_id,
    attribution_days
from {{ source('crm', 'shops') }}
