-- By the time of purchase, whichever way the order arrived: what was bought before the first sync
-- began is history, also when a webhook or a refresh brings it later. Without a first sync there is
-- no such instant yet, and every order is.
select
    orders.shop_id,
    orders.order_id,
    orders.customer_id,
    orders.is_counted,
    orders.processed_at,
    coalesce(orders.processed_at < shops.first_sync_started_at, true) as is_historical
from {{ ref('stg_shopify__orders') }} as orders
inner join {{ ref('stg_crm__shops') }} as shops
    on orders.shop_id = shops.shop_id
