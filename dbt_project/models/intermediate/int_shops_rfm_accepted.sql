with runs as (

    select distinct on (shop_id)
        shop_id,
        rfm_run_id,
        buyer_count
    from {{ ref('stg_crm__rfm_runs') }}
    where state = 'accepted'
    order by shop_id asc, decided_at desc, rfm_run_id desc

),

-- Arrays of ascending lower bounds, as width_bucket() wants them; a score nobody reaches is absent.
cut_points as (

    select
        runs.shop_id,
        runs.rfm_run_id,
        runs.buyer_count,
        array_agg(boundaries.lower_bound_at order by boundaries.score) filter (
            where boundaries.dimension = 'recency'
        ) as recency,
        array_agg(boundaries.lower_bound order by boundaries.score) filter (
            where boundaries.dimension = 'frequency'
        ) as frequency,
        array_agg(boundaries.lower_bound order by boundaries.score) filter (
            where boundaries.dimension = 'monetary'
        ) as monetary
    from runs
    left join {{ ref('rfm_boundaries') }} as boundaries
        on
            runs.shop_id = boundaries.shop_id
            and runs.rfm_run_id = boundaries.rfm_run_id
    group by
        runs.shop_id,
        runs.rfm_run_id,
        runs.buyer_count

)

select
    shop_id,
    rfm_run_id,
    buyer_count >= {{ var('min_buyers') }} as has_enough_buyers,
    coalesce(recency, '{}') as recency_cuts,
    coalesce(frequency, '{}') as frequency_cuts,
    coalesce(monetary, '{}') as monetary_cuts
from cut_points
