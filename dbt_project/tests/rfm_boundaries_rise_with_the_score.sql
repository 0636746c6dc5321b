-- width_bucket() searches ascending bounds; equal neighbours are fine, a falling one is not.
with neighbours as (

    select
        shop_id,
        rfm_run_id,
        dimension,
        score,
        lower_bound,
        lower_bound_at,
        lag(lower_bound) over (
            partition by shop_id, rfm_run_id, dimension order by score
        ) as previous_bound,
        lag(lower_bound_at) over (
            partition by shop_id, rfm_run_id, dimension order by score
        ) as previous_bound_at
    from {{ ref('rfm_boundaries') }}

)

select
    shop_id,
    rfm_run_id,
    dimension,
    score
from neighbours
where
    lower_bound < previous_bound
    or lower_bound_at < previous_bound_at
