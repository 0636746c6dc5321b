-- The statistics that every score rests on are those of the orders.
select
    shop_id,
    customer_id,
    order_count_of_orders,
    order_count,
    total_spent_of_orders,
    total_spent
from {{ ref('int_customer_statistics_compared') }}
where is_different
