{#-
Views are changed in place. The stock way (new view, rename, drop the old one with cascade) takes
every dependent view away until dbt comes to rebuild it, and activation reads them all the time.

- definition as it is: nothing is done, so no lock is asked for;
- columns the same, or new ones at the end: `create or replace view`, waiting at most 3 s for the
  readers before it, because new readers queue behind it;
- columns renamed, moved, retyped or removed, or --full-refresh: the stock way.
-#}
{% materialization view, adapter='postgres' %}

    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is none or not existing.is_view or should_full_refresh() -%}
        {{ return(dbt.materialization_view_default()) }}
    {%- endif -%}

    {#- Also where nothing changes: the contract itself may have. -#}
    {%- if config.get('contract').enforced -%}
        {%- do get_assert_columns_equivalent(sql) -%}
    {%- endif -%}

    {%- set change = view_change(existing, sql) -%}
    {%- if change == 'columns' -%}
        {{ return(dbt.materialization_view_default()) }}
    {%- endif -%}

    {%- set target_relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if change == 'none' -%}
        {%- call noop_statement('main', 'UNCHANGED', 'UNCHANGED', 0) -%}{{ sql }}{%- endcall -%}
    {%- else -%}
        {%- call statement('lock_timeout') -%}set local lock_timeout = '3s'{%- endcall -%}
        {%- call statement('main') -%}
            {{ get_replace_view_sql(target_relation, sql) }}
        {%- endcall -%}
    {%- endif -%}

    {%- do apply_grants(target_relation, config.get('grants'), should_revoke=True) -%}
    {%- do persist_docs(target_relation, model) -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{#-
What `sql` would change in the view: 'none', 'definition' (can be replaced in place) or 'columns'.
PostgreSQL itself compares: the same statement as a temporary view has the same definition text.
-#}
{% macro view_change(existing, sql) %}
    {%- if not execute -%}{{ return('none') }}{%- endif -%}
    {%- set wanted = adapter.quote('wanted_' ~ existing.identifier) -%}
    {%- call statement('create_wanted_view') -%}
        create temporary view {{ wanted }} as (
            {{ sql }}
        )
    {%- endcall -%}
    {%- call statement('compare_views', fetch_result=True) -%}
        with
        columns as (
            select
                attrelid,
                array_agg(
                    format('%I %s', attname, format_type(atttypid, atttypmod)) order by attnum
                ) as names_and_types
            from pg_attribute
            where
                attrelid in ('{{ existing }}'::regclass, 'pg_temp.{{ wanted }}'::regclass)
                and attnum > 0
                and not attisdropped
            group by attrelid
        )
        select
            pg_get_viewdef(old.attrelid) = pg_get_viewdef(new.attrelid)
            and old.names_and_types = new.names_and_types as is_same,
            old.names_and_types
            = new.names_and_types[:cardinality(old.names_and_types)] as is_replaceable
        from columns as old
        inner join columns as new
            on
                old.attrelid = '{{ existing }}'::regclass
                and new.attrelid = 'pg_temp.{{ wanted }}'::regclass
    {%- endcall -%}
    {%- set found = load_result('compare_views').table.rows[0] -%}
    {%- call statement('drop_wanted_view') -%}drop view pg_temp.{{ wanted }}{%- endcall -%}
    {%- if found[0] -%}
        {{ return('none') }}
    {%- elif found[1] -%}
        {{ return('definition') }}
    {%- else -%}
        {{ return('columns') }}
    {%- endif -%}
{% endmacro %}
