-- The table has each of the 125 scores exactly once.
select
    r_score,
    f_score,
    m_score
from generate_series(1, 5) as r (r_score)
cross join generate_series(1, 5) as f (f_score)
cross join generate_series(1, 5) as m (m_score)
where (
    select count(*) from {{ ref('rfm_segments') }} as segments
    where
        segments.r_score = r.r_score
        and segments.f_score = f.f_score
        and segments.m_score = m.m_score
) <> 1
