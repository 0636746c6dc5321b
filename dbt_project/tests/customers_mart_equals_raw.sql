{{ config(meta={'dagster': {'ref': {'name': 'data_health'}}}) }}

-- By shop, the mart of customers holds everyone who is not deleted, once, and what they spent.
-- With the reports, not with the scores: nobody's segment should wait for it.
-- depends_on: {{ ref('data_health') }}
with raw_customers as (

    select
        customers.shop_id,
        count(*) as customer_count,
        coalesce(sum(customer_statistics.total_spent), 0) as total_spent
    from {{ source('raw_shopify', 'customers') }} as customers
    left join {{ source('raw_shopify', 'customer_statistics') }} as customer_statistics
        on
            customers.shop_id = customer_statistics.shop_id
            and customers.customer_id = customer_statistics.customer_id
    where customers.deleted_at is null
    group by customers.shop_id

),

mart_customers as (

    select
        shop_id,
        count(*) as customer_count,
        sum(total_spent) as total_spent
    from {{ ref('customers') }}
    group by shop_id

)

select
    coalesce(raw_customers.shop_id, mart_customers.shop_id) as shop_id,
    raw_customers.customer_count as raw_customer_count,
    mart_customers.customer_count as mart_customer_count
from raw_customers
full outer join mart_customers
    on raw_customers.shop_id = mart_customers.shop_id
where
    raw_customers.customer_count is distinct from mart_customers.customer_count
    or raw_customers.total_spent is distinct from mart_customers.total_spent
