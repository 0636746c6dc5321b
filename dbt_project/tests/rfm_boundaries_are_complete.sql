-- A run has three dimensions of four boundaries in each shop it scored; fewer would score wrong.
select
    shop_id,
    rfm_run_id,
    count(*) as row_count
from {{ ref('rfm_boundaries') }}
group by
    shop_id,
    rfm_run_id
having count(*) <> 12
