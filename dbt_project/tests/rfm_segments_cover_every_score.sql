-- The table has each of the 125 scores exactly once.
select
    count(*) as row_count,
    count(distinct (r_score, f_score, m_score)) as score_count
from {{ ref('rfm_segments') }}
where
    r_score between 1 and 5
    and f_score between 1 and 5
    and m_score between 1 and 5
having
    count(*) <> 125
    or count(distinct (r_score, f_score, m_score)) <> 125
