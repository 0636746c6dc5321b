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

-- customer_id makes the order total: equal values would otherwise fall into buckets by chance.
bucketed as (

    select
        *,
        ntile(5) over (
            partition by shop_id order by last_order_at, customer_id
        ) as recency_bucket,
        ntile(5) over (
            partition by shop_id order by order_count, customer_id
        ) as frequency_bucket,
        ntile(5) over (
            partition by shop_id order by total_spent, customer_id
        ) as monetary_bucket
    from buyers

),

-- The tie rule: equal values score alike, the lowest bucket among them.
scored as (

    select
        shop_id,
        customer_id,
        order_count,
        total_spent,
        last_order_at,
        min(recency_bucket) over (partition by shop_id, last_order_at) as r_score,
        min(frequency_bucket) over (partition by shop_id, order_count) as f_score,
        min(monetary_bucket) over (partition by shop_id, total_spent) as m_score
    from bucketed

)

select * from scored
