{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        full_refresh=false
    )
}}

-- The smallest value of every score that somebody has, one dimension at a time.
with smallest as (

    select
        shop_id,
        dimension,
        score,
        min(value) as lower_bound,
        min(value_at) as lower_bound_at,
        sum(customer_count) as customer_count
    from {{ ref('int_rfm_values_scored') }}
    where {{ rfm_run_id() }} <> ''
    group by
        shop_id,
        dimension,
        score

),

shops as (

    select
        shop_id,
        sum(customer_count) as buyer_count
    from smallest
    where dimension = 'recency'
    group by shop_id
    having sum(customer_count) >= {{ var('min_buyers') }}

),

-- Ties leave scores out. Nobody at 2 but somebody at 3 gives both the same bound; nobody at 5 gives
-- it none, and a row that says so: else "nobody" and "never computed" would look alike.
boundaries as (

    select
        shops.shop_id,
        shops.buyer_count,
        dimensions.dimension,
        scores.score,
        min(smallest.lower_bound) as lower_bound,
        min(smallest.lower_bound_at) as lower_bound_at
    from shops
    cross join (
        values ('recency'), ('frequency'), ('monetary')
    ) as dimensions (dimension)
    cross join generate_series(2, 5) as scores (score)
    left join smallest
        on
            shops.shop_id = smallest.shop_id
            and dimensions.dimension = smallest.dimension
            and scores.score <= smallest.score
    group by
        shops.shop_id,
        shops.buyer_count,
        dimensions.dimension,
        scores.score

)

select
    boundaries.shop_id,
    {{ rfm_run_id() }}::text as rfm_run_id,
    boundaries.dimension,
    boundaries.score::smallint as score,
    boundaries.lower_bound::numeric(20, 4) as lower_bound,
    boundaries.lower_bound_at,
    boundaries.buyer_count::bigint as buyer_count,
    {{ as_of() }} as computed_at
from boundaries
{% if is_incremental() %}
where
    boundaries.shop_id not in (
        select computed.shop_id
        from {{ this }} as computed
        where computed.rfm_run_id = {{ rfm_run_id() }}
    )
{% endif %}
