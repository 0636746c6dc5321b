-- Buckets by NTILE(5) over customers, then the tie rule: all who have a value score alike, by the
-- lowest bucket among them. That bucket is the one of the value's first place in order, which
-- depends on how many customers have less and on nothing else. So customers are counted by value
-- before anything is sorted: a million customers have some hundred order counts and some ten
-- thousand sums, and sorting all of them three times took a third longer.
-- NTILE(5) of n rows: the first n % 5 buckets hold n / 5 + 1 rows each, the others n / 5.
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

recency_counted as (

    select
        shop_id,
        'recency' as dimension,
        null::numeric(20, 4) as value,
        last_order_at as value_at,
        count(*) as customer_count,
        (
            sum(count(*)) over (
                partition by shop_id order by last_order_at rows unbounded preceding
            )
        )::bigint as reached
    from buyers
    group by
        shop_id,
        last_order_at

),

frequency_counted as (

    select
        shop_id,
        'frequency' as dimension,
        order_count::numeric(20, 4) as value,
        null::timestamptz as value_at,
        count(*) as customer_count,
        (
            sum(count(*)) over (
                partition by shop_id order by order_count rows unbounded preceding
            )
        )::bigint as reached
    from buyers
    group by
        shop_id,
        order_count

),

monetary_counted as (

    select
        shop_id,
        'monetary' as dimension,
        total_spent as value,
        null::timestamptz as value_at,
        count(*) as customer_count,
        (
            sum(count(*)) over (
                partition by shop_id order by total_spent rows unbounded preceding
            )
        )::bigint as reached
    from buyers
    group by
        shop_id,
        total_spent

),

counted as (

    select * from recency_counted
    union all
    select * from frequency_counted
    union all
    select * from monetary_counted

),

-- `before_it`: customers in front of the value's first place; `n` as in the note above.
placed as (

    select
        *,
        reached - customer_count as before_it,
        max(reached) over (partition by shop_id, dimension) as n
    from counted

)

select
    shop_id,
    dimension,
    value,
    value_at,
    case
        when before_it < (n % 5) * (n / 5 + 1) then 1 + before_it / (n / 5 + 1)
        else 1 + n % 5 + (before_it - (n % 5) * (n / 5 + 1)) / (n / 5)
    end::integer as score,
    customer_count
from placed
