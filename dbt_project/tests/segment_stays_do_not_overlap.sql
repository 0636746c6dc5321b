-- A customer is in one segment at a time, and the next stay says where it came from.
with neighbours as (

    select
        shop_id,
        membership_id,
        customer_id,
        previous_segment,
        entered_at,
        exited_at,
        lag(segment) over stays as segment_before,
        lag(exited_at) over stays as exited_before,
        row_number() over stays as stay_number
    from {{ ref('segment_history') }}
    where customer_id is not null
    window stays as (
        partition by shop_id, customer_id
        order by entered_at, coalesce(exited_at, 'infinity'), membership_id
    )

)

select
    shop_id,
    membership_id,
    customer_id
from neighbours
where
    exited_at < entered_at
    or (stay_number > 1 and (exited_before is null or exited_before > entered_at))
    or (stay_number > 1 and previous_segment <> segment_before)
