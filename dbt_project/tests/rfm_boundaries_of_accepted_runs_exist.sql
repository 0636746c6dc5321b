-- An accepted run without boundaries would score every customer 1/1/1. It is right only where all
-- buyers are alike, hence a warning.
{{ config(severity='warn') }}

select
    runs.shop_id,
    runs.rfm_run_id
from {{ ref('int_shops_rfm_accepted') }} as runs
where
    runs.has_enough_buyers
    and not exists (
        select 1
        from {{ ref('rfm_boundaries') }} as boundaries
        where
            boundaries.shop_id = runs.shop_id
            and boundaries.rfm_run_id = runs.rfm_run_id
    )
