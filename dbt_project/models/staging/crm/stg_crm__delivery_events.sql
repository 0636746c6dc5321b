-- Without those that are not matched yet: they belong to no shop.
select
    shop_id,
    provider,
    event_id,
    message_id,
    event_type,
    state,
    occurred_at,
    received_at
from {{ source('crm', 'delivery_events') }}
where shop_id is not null
