select
    shop_id,
    customer_id,
    email,
    email_normalized,
    first_name,
    last_name,
    phone,
    locale,
    tags,
    consent_state,
    consent_level,
    consent_updated_at,
    has_valid_email,
    deleted_at is not null as is_deleted,
    created_at,
    updated_at,
    deleted_at
from {{ source('raw_shopify', 'customers') }}
