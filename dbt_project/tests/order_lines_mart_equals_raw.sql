{{ config(meta={'dagster': {'ref': {'name': 'order_lines'}}}) }}

-- By shop, no line item is lost or doubled on its way, nor a piece of one.
with raw_lines as (

    select
        shop_id,
        count(*) as line_count,
        sum(quantity) as quantity,
        sum(quantity * unit_price) as line_total
    from {{ source('raw_shopify', 'order_lines') }}
    group by shop_id

),

mart_lines as (

    select
        shop_id,
        count(*) as line_count,
        sum(quantity) as quantity,
        sum(line_total) as line_total
    from {{ ref('order_lines') }}
    group by shop_id

)

select
    coalesce(raw_lines.shop_id, mart_lines.shop_id) as shop_id,
    raw_lines.line_count as raw_line_count,
    mart_lines.line_count as mart_line_count
from raw_lines
full outer join mart_lines
    on raw_lines.shop_id = mart_lines.shop_id
where
    raw_lines.line_count is distinct from mart_lines.line_count
    or raw_lines.quantity is distinct from mart_lines.quantity
    or raw_lines.line_total is distinct from mart_lines.line_total
