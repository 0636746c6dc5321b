-- Nobody rescores: an order moves the statistics, and the row read here is right at once.
-- Subqueries instead of `with`: PostgreSQL plans a view that has a `with` on its own, and then a
-- page of 50 customers reads the statistics of all.
select
    shop_id,
    customer_id,
    email,
    first_name,
    last_name,
    locale,
    tags,
    consent_state,
    consent_updated_at,
    created_at,
    order_count,
    total_spent,
    first_order_at,
    last_order_at,
    r_score::smallint as r_score,
    f_score::smallint as f_score,
    m_score::smallint as m_score,
    concat(r_score, f_score, m_score) as rfm_score,
    is_scored,
    rfm_run_id
from (
    select
        *,
        case when is_scored then 1 + width_bucket(last_order_at, recency_cuts) else 1 end
            as r_score,
        case when is_scored then 1 + width_bucket(order_count, frequency_cuts) else 1 end
            as f_score,
        case when is_scored then 1 + width_bucket(total_spent, monetary_cuts) else 1 end
            as m_score
    from (
        select
            customers.shop_id,
            customers.customer_id,
            customers.email,
            customers.first_name,
            customers.last_name,
            customers.locale,
            customers.tags,
            customers.consent_state,
            customers.consent_updated_at,
            customers.created_at,
            coalesce(statistics.order_count, 0) as order_count,
            coalesce(statistics.total_spent, 0::numeric(20, 4)) as total_spent,
            statistics.first_order_at,
            statistics.last_order_at,
            accepted.rfm_run_id,
            accepted.recency_cuts,
            accepted.frequency_cuts,
            accepted.monetary_cuts,
            coalesce(
                accepted.shop_id is not null and statistics.order_count > 0, false
            ) as is_scored
        from {{ ref('stg_shopify__customers') }} as customers
        left join {{ ref('stg_shopify__customer_statistics') }} as statistics
            on
                customers.shop_id = statistics.shop_id
                and customers.customer_id = statistics.customer_id
        left join {{ ref('int_shops_rfm_accepted') }} as accepted
            on customers.shop_id = accepted.shop_id
        where not customers.is_deleted
    ) as customers
) as scored
