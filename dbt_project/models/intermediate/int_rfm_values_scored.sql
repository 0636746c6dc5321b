-- Buckets by NTILE(5) over customers, then the tie rule: all who have a value score alike, by the
-- lowest bucket among them. That bucket is the one of the value's first place in order, which
-- depends on how many customers have less and on nothing else. So it does not matter how the sort
-- leaves equal values, and there is no second sort key: it would change no row and cost half as
-- much again.
with buyers as (

    select
        statistics.shop_id,
        statistics.order_count,
        statistics.total_spent,
        statistics.last_order_at
    from {{ ref('stg_shopify__customer_statistics') }} as statistics
    inner join {{ ref('stg_shopify__customers') }} as customers
        on
            statistics.shop_id = customers.shop_id
            and statistics.customer_id = customers.customer_id
    where
        statistics.order_count > 0
        and not customers.is_deleted

),

recency_bucketed as (

    select
        shop_id,
        last_order_at,
        ntile(5) over (partition by shop_id order by last_order_at) as bucket
    from buyers

),

frequency_bucketed as (

    select
        shop_id,
        order_count,
        ntile(5) over (partition by shop_id order by order_count) as bucket
    from buyers

),

monetary_bucketed as (

    select
        shop_id,
        total_spent,
        ntile(5) over (partition by shop_id order by total_spent) as bucket
    from buyers

)

select
    shop_id,
    'recency' as dimension,
    null::numeric(20, 4) as value,
    last_order_at as value_at,
    min(bucket) as score,
    count(*) as customer_count
from recency_bucketed
group by
    shop_id,
    last_order_at

union all

select
    shop_id,
    'frequency' as dimension,
    order_count::numeric(20, 4) as value,
    null as value_at,
    min(bucket) as score,
    count(*) as customer_count
from frequency_bucketed
group by
    shop_id,
    order_count

union all

select
    shop_id,
    'monetary' as dimension,
    total_spent as value,
    null as value_at,
    min(bucket) as score,
    count(*) as customer_count
from monetary_bucketed
group by
    shop_id,
    total_spent
