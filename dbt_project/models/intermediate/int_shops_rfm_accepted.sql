with runs as (

    select distinct on (shop_id)
        shop_id,
        rfm_run_id
    from {{ ref('stg_crm__rfm_runs') }}
    where state = 'accepted'
    order by shop_id asc, decided_at desc, rfm_run_id desc

),

-- A run that found too few buyers has no boundaries, and its shop no row: nobody is scored, however
-- many buyers there are by now.
cut_points as (

    select
        runs.shop_id,
        runs.rfm_run_id,
        array_agg(boundaries.lower_bound_at order by boundaries.score) filter (
            where boundaries.dimension = 'recency' and boundaries.lower_bound_at is not null
        ) as recency,
        array_agg(boundaries.lower_bound order by boundaries.score) filter (
            where boundaries.dimension = 'frequency' and boundaries.lower_bound is not null
        ) as frequency,
        array_agg(boundaries.lower_bound order by boundaries.score) filter (
            where boundaries.dimension = 'monetary' and boundaries.lower_bound is not null
        ) as monetary
    from runs
    inner join {{ ref('rfm_boundaries') }} as boundaries
        on
            runs.shop_id = boundaries.shop_id
            and runs.rfm_run_id = boundaries.rfm_run_id
    group by
        runs.shop_id,
        runs.rfm_run_id

)

select
    shop_id,
    rfm_run_id,
    coalesce(recency, '{}') as recency_cuts,
    coalesce(frequency, '{}') as frequency_cuts,
    coalesce(monetary, '{}') as monetary_cuts
from cut_points
