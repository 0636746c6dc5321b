-- Only moves: the first segment of a customer has none before it, and a baseline moves nobody.
select
    shop_id,
    entered_date as transition_date,
    previous_segment as from_segment,
    segment as to_segment,
    count(*) as customer_count,
    count(*) filter (where cause = 'order') as order_caused_count,
    count(*) filter (where cause = 'full_run') as full_run_caused_count
from {{ ref('segment_history') }}
where
    previous_segment is not null
    and previous_segment <> segment
group by
    shop_id,
    entered_date,
    previous_segment,
    segment
