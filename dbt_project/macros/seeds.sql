{#-
A seed is replaced row by row. The stock `truncate` shows an empty table to a transaction that began
earlier, and through the views every customer without a segment. The lock lets readers through and
keeps two builds from each inserting beside the other's rows.
-#}
{% macro postgres__reset_csv_table(model, full_refresh, old_relation, agate_table) %}
    {%- if full_refresh -%}
        {{ return(default__reset_csv_table(model, full_refresh, old_relation, agate_table)) }}
    {%- endif -%}
    {%- set sql -%}
        lock table {{ old_relation.render() }} in share row exclusive mode;
        delete from {{ old_relation.render() }}
    {%- endset -%}
    {%- call statement('delete_rows') -%}{{ sql }}{%- endcall -%}
    {{ return(sql) }}
{% endmacro %}


{#-
Refuse a segment table that leaves a score out, repeats one or names an unknown segment. Runs in the
seed's own transaction, so the former table stays in force and no view ever shows the wrong one.
-#}
{% macro check_rfm_segments() %}
do $check$
declare
    faults text;
begin
    select string_agg(fault, '; ') into faults
    from (
        select format(
            'R%s F%s M%s has %s rows', r_score, f_score, m_score, count(segments.segment)
        ) as fault
        from generate_series(1, 5) as r_score
        cross join generate_series(1, 5) as f_score
        cross join generate_series(1, 5) as m_score
        left join {{ this }} as segments using (r_score, f_score, m_score)
        group by r_score, f_score, m_score
        having count(segments.segment) <> 1
        union all
        select format('unknown segment %L at R%s F%s M%s', segment, r_score, f_score, m_score)
        from {{ this }}
        where segment <> all(array['{{ var("segments") | join("', '") }}'])
        union all
        select format('no such score: R%s F%s M%s', r_score, f_score, m_score)
        from {{ this }}
        where not (
            r_score between 1 and 5 and f_score between 1 and 5 and m_score between 1 and 5
        )
    ) as found;
    if faults is not null then
        raise exception 'seeds/rfm_segments.csv is refused, the former table stays: %', faults;
    end if;
end
$check$
{% endmacro %}
