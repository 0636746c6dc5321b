{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        full_refresh=false
    )
}}

-- A boundary is the smallest value that reaches the score. Where nobody reaches it there is no row.
with smallest as (

    select
        shop_id,
        count(*) as buyer_count
        {%- for score in range(2, 6) %},
        min(last_order_at) filter (where r_score >= {{ score }}) as recency_{{ score }},
        min(order_count) filter (where f_score >= {{ score }}) as frequency_{{ score }},
        min(total_spent) filter (where m_score >= {{ score }}) as monetary_{{ score }}
        {%- endfor %}
    from {{ ref('int_customers_rfm_scored') }}
    where {{ rfm_run_id() }} <> ''
    group by shop_id

),

boundaries as (

    select
        smallest.shop_id,
        bounds.dimension,
        bounds.score,
        bounds.lower_bound,
        bounds.lower_bound_at,
        smallest.buyer_count
    from smallest
    cross join lateral (
        values
        {%- for score in range(2, 6) %}
        ('recency', {{ score }}, null::numeric, recency_{{ score }}),
        ('frequency', {{ score }}, frequency_{{ score }}::numeric, null::timestamptz),
        ('monetary', {{ score }}, monetary_{{ score }}, null::timestamptz)
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    ) as bounds (dimension, score, lower_bound, lower_bound_at)
    where
        smallest.buyer_count >= {{ var('min_buyers') }}
        and (bounds.lower_bound is not null or bounds.lower_bound_at is not null)

)

select
    shop_id,
    {{ rfm_run_id() }}::text as rfm_run_id,
    dimension::text as dimension,
    score::smallint as score,
    lower_bound::numeric(20, 4) as lower_bound,
    lower_bound_at,
    buyer_count,
    {{ as_of() }} as computed_at
from boundaries
{% if is_incremental() %}
where not exists (
    select 1
    from {{ this }} as computed
    where
        computed.shop_id = boundaries.shop_id
        and computed.rfm_run_id = {{ rfm_run_id() }}
)
{% endif %}
