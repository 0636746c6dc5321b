-- Business time of the data that segments follow; a shop of too few buyers to score has one too.
-- From the source, not from stg_crm__shops: that is built with the reports, whose tests relate them
-- to it, and scores wait for no report.
select distinct on (runs.shop_id)
    runs.shop_id,
    runs.rfm_run_id,
    runs.decided_at as accepted_at,
    shops.time_zone,
    (runs.decided_at at time zone shops.time_zone)::date as accepted_date
from {{ ref('stg_crm__rfm_runs') }} as runs
inner join {{ source('crm', 'shops') }} as shops
    on runs.shop_id = shops.shop_id
where runs.state = 'accepted'
order by
    runs.shop_id asc,
    runs.decided_at desc,
    runs.rfm_run_id desc
