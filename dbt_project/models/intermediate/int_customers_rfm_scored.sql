-- Buckets over a total order (customer_id), else equal values would fall where they may. Then the
-- tie rule: equal values score alike, the lowest bucket among them. Score follows bucket one
-- dimension at a time, so that one sort serves both: 3 sorts of all buyers instead of 6.
with buyers as (

    select
        statistics.shop_id,
        statistics.customer_id,
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
        *,
        ntile(5) over (
            partition by shop_id order by last_order_at, customer_id
        ) as recency_bucket
    from buyers

),

recency_scored as (

    select
        *,
        min(recency_bucket) over (partition by shop_id, last_order_at) as r_score
    from recency_bucketed

),

frequency_bucketed as (

    select
        *,
        ntile(5) over (
            partition by shop_id order by order_count, customer_id
        ) as frequency_bucket
    from recency_scored

),

frequency_scored as (

    select
        *,
        min(frequency_bucket) over (partition by shop_id, order_count) as f_score
    from frequency_bucketed

),

monetary_bucketed as (

    select
        *,
        ntile(5) over (
            partition by shop_id order by total_spent, customer_id
        ) as monetary_bucket
    from frequency_scored

),

monetary_scored as (

    select
        *,
        min(monetary_bucket) over (partition by shop_id, total_spent) as m_score
    from monetary_bucketed

)

select
    shop_id,
    customer_id,
    order_count,
    total_spent,
    last_order_at,
    r_score,
    f_score,
    m_score
from monetary_scored
