-- History is by the time of purchase, whichever way the order arrived: what was bought before the
-- first sync began, also when a webhook or a refresh brings it later. Without a first sync there is
-- no such instant yet, and every order is.
-- What an order adds to sums is decided here and nowhere else: nothing unless it counts and is in
-- the shop's currency.
select
    orders.shop_id,
    orders.order_id,
    orders.customer_id,
    orders.is_counted,
    orders.processed_at,
    coalesce(orders.processed_at < shops.first_sync_started_at, true) as is_historical,
    (orders.processed_at at time zone shops.time_zone)::date as order_date,
    orders.currency <> shops.currency as is_foreign_currency,
    case
        when orders.is_counted and orders.currency = shops.currency then orders.original_total
        else 0
    end::numeric(20, 4) as gross_revenue,
    case
        when orders.is_counted and orders.currency = shops.currency then orders.current_total
        else 0
    end::numeric(20, 4) as net_revenue,
    orders.order_name,
    orders.currency,
    orders.original_total,
    orders.refunded_total,
    orders.current_total,
    orders.financial_status,
    orders.source_name,
    orders.discount_codes,
    orders.is_test,
    orders.created_at,
    orders.updated_at,
    orders.cancelled_at
from {{ ref('stg_shopify__orders') }} as orders
inner join {{ ref('stg_crm__shops') }} as shops
    on orders.shop_id = shops.shop_id
