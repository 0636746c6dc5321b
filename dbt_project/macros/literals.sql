{#- The run whose boundaries are computed, as a SQL text literal; empty when no run was asked for. -#}
{% macro rfm_run_id() -%}
    {{ dbt.string_literal(dbt.escape_single_quotes(var('rfm_run_id') | string)) }}
{%- endmacro %}

{#- The instant of the run as a SQL literal. A text without a zone means UTC, never the session's. -#}
{% macro as_of() -%}
    {%- set given = var('as_of') | string -%}
    {%- if not given -%}
        cast(null as timestamptz)
    {%- else -%}
        {%- set instant = modules.datetime.datetime.fromisoformat(given) -%}
        {%- if instant.tzinfo is none -%}
            {%- set instant = modules.pytz.utc.localize(instant) -%}
        {%- endif -%}
        cast('{{ instant.isoformat() }}' as timestamptz)
    {%- endif -%}
{%- endmacro %}
