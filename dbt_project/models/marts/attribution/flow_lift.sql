{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '256MB'"
    )
}}

{#- Two-sided, 95 %. -#}
{%- set z = 1.959964 -%}

-- The difference of two means of skewed amounts, most of them 0: spread and skew are those of both
-- arms together, because the few people held out seldom show the large orders that make them, and
-- the ends are moved by the skew (Cornish and Fisher). Of two shares: Newcombe's interval from
-- Wilson's, which holds for few buyers too. Why, and how often it holds: decision 38.
with people as (

    select
        outcomes.shop_id,
        outcomes.automation_id,
        outcomes.is_held_out,
        outcomes.holdout_percent,
        outcomes.window_days,
        outcomes.order_count > 0 as is_buyer,
        measured.metric,
        measured.amount,
        measured.credited
    from {{ ref('int_flow_outcomes') }} as outcomes
    cross join lateral (
        values
        (
            'buyers',
            (outcomes.order_count > 0)::integer::double precision,
            (outcomes.credited_order_count > 0)::integer::numeric
        ),
        (
            'orders',
            outcomes.order_count::double precision,
            outcomes.credited_order_count::numeric
        ),
        ('revenue', outcomes.revenue::double precision, outcomes.credited_revenue)
    ) as measured (metric, amount, credited)

),

arms as (

    select
        shop_id,
        automation_id,
        metric,
        is_held_out,
        min(holdout_percent) as holdout_percent,
        min(window_days) as window_days,
        count(*) as people,
        count(*) filter (where is_buyer) as buyers,
        avg(amount) as mean,
        coalesce(var_samp(amount), 0) as variance,
        avg(amount ^ 3) - 3 * avg(amount) * avg(amount ^ 2) + 2 * avg(amount) ^ 3 as third_moment,
        sum(credited) as credited
    from people
    group by
        shop_id,
        automation_id,
        metric,
        is_held_out

),

-- Wilson's limits of each arm; of use for shares only.
limited as (

    select
        *,
        (
            mean + {{ z }} ^ 2 / (2 * people)
            - {{ z }} * sqrt(
                greatest(mean * (1 - mean), 0) / people + {{ z }} ^ 2 / (4 * people ^ 2)
            )
        ) / (1 + {{ z }} ^ 2 / people) as wilson_low,
        (
            mean + {{ z }} ^ 2 / (2 * people)
            + {{ z }} * sqrt(
                greatest(mean * (1 - mean), 0) / people + {{ z }} ^ 2 / (4 * people ^ 2)
            )
        ) / (1 + {{ z }} ^ 2 / people) as wilson_high
    from arms

),

paired as (

    select
        treated.shop_id,
        treated.automation_id,
        treated.metric,
        treated.holdout_percent,
        treated.window_days,
        treated.people as treated_people,
        held_out.people as held_out_people,
        treated.buyers as treated_buyers,
        held_out.buyers as held_out_buyers,
        treated.mean as treated_mean,
        held_out.mean as held_out_mean,
        treated.credited,
        treated.mean - held_out.mean as difference,
        treated.mean * treated.people + held_out.mean * held_out.people as total,
        (treated.variance * (treated.people - 1) + held_out.variance * (held_out.people - 1))
        / nullif(treated.people + held_out.people - 2, 0) as variance,
        (treated.third_moment * treated.people + held_out.third_moment * held_out.people)
        / (treated.people + held_out.people) as third_moment,
        treated.wilson_low as treated_low,
        treated.wilson_high as treated_high,
        held_out.wilson_low as held_out_low,
        held_out.wilson_high as held_out_high
    from limited as treated
    left join limited as held_out
        on
            treated.shop_id = held_out.shop_id
            and treated.automation_id = held_out.automation_id
            and treated.metric = held_out.metric
            and held_out.is_held_out
    where not treated.is_held_out

),

-- Null where there is nothing to compare: one arm is empty, or all people are alike.
errors as (

    select
        *,
        sqrt(variance / treated_people + variance / held_out_people) as error,
        (third_moment / treated_people ^ 2 - third_moment / held_out_people ^ 2)
        / nullif((variance / treated_people + variance / held_out_people) ^ 1.5, 0) as skew,
        total / (treated_people + held_out_people) as mean
    from paired

),

bounded as (

    select
        *,
        case
            when metric = 'buyers'
                then
                    difference - sqrt(
                        (treated_mean - treated_low) ^ 2 + (held_out_high - held_out_mean) ^ 2
                    )
            else difference - error * ({{ z }} + skew * ({{ z }} ^ 2 - 1) / 6)
        end as low,
        case
            when metric = 'buyers'
                then
                    difference + sqrt(
                        (treated_high - treated_mean) ^ 2 + (held_out_mean - held_out_low) ^ 2
                    )
            else difference + error * ({{ z }} - skew * ({{ z }} ^ 2 - 1) / 6)
        end as high,
        -- Of the logarithm of the ratio.
        case when treated_mean > 0 and held_out_mean > 0 then {{ z }} * error / mean end
            as relative_error
    from errors

)

select
    bounded.shop_id,
    bounded.automation_id,
    bounded.metric,
    automations.automation_key,
    shops.currency,
    bounded.holdout_percent,
    bounded.window_days,
    bounded.treated_people::bigint as treated_people,
    coalesce(bounded.held_out_people, 0)::bigint as held_out_people,
    bounded.treated_buyers::bigint as treated_buyers,
    coalesce(bounded.held_out_buyers, 0)::bigint as held_out_buyers,
    bounded.treated_mean::numeric(20, 6) as treated_per_person,
    bounded.held_out_mean::numeric(20, 6) as held_out_per_person,
    bounded.difference::numeric(20, 6) as difference,
    bounded.low::numeric(20, 6) as difference_low,
    bounded.high::numeric(20, 6) as difference_high,
    (bounded.difference / nullif(bounded.held_out_mean, 0))::numeric(20, 6) as relative_lift,
    (
        bounded.treated_mean / nullif(bounded.held_out_mean, 0) * exp(-bounded.relative_error) - 1
    )::numeric(20, 6) as relative_lift_low,
    (
        bounded.treated_mean / nullif(bounded.held_out_mean, 0) * exp(bounded.relative_error) - 1
    )::numeric(20, 6) as relative_lift_high,
    bounded.credited::numeric(20, 4) as attributed_total,
    (bounded.difference * bounded.treated_people)::numeric(20, 4) as incremental_total,
    (bounded.low * bounded.treated_people)::numeric(20, 4) as incremental_total_low,
    (bounded.high * bounded.treated_people)::numeric(20, 4) as incremental_total_high,
    case
        when
            least(bounded.treated_people, coalesce(bounded.held_out_people, 0))
            < {{ var('lift_fewest_people') }}
            or least(bounded.treated_buyers, coalesce(bounded.held_out_buyers, 0))
            < {{ var('lift_fewest_buyers') }}
            or bounded.low is null
            then 'too early to say'
        when bounded.low > 0 then 'more'
        when bounded.high < 0 then 'less'
        when
            greatest(-bounded.low, bounded.high)
            > {{ var('lift_widest_share') }} * bounded.held_out_mean
            then 'too early to say'
        else 'no difference'
    end as verdict,
    {{ built_at() }} as built_at
from bounded
inner join {{ ref('stg_crm__shops') }} as shops
    on bounded.shop_id = shops.shop_id
inner join {{ ref('stg_crm__automations') }} as automations
    on
        bounded.shop_id = automations.shop_id
        and bounded.automation_id = automations.automation_id
