{#-
A run says by the environment which it is and when; whoever builds by hand may say it by `--vars`.
Variables that are others in each run would make dbt parse every model anew.
-#}
{#- The run whose boundaries are computed, as a SQL text literal; empty when no run was asked for. -#}
{% macro rfm_run_id() -%}
    {%- set given = var('rfm_run_id') or env_var('ECOMCRM_DBT_RFM_RUN_ID', '') -%}
    {{ dbt.string_literal(dbt.escape_single_quotes(given | string)) }}
{%- endmacro %}

{#- The instant of the run as a SQL literal. A text without a zone means UTC, never the session's. -#}
{% macro as_of() -%}
    {%- set given = (var('as_of') or env_var('ECOMCRM_DBT_AS_OF', '')) | string -%}
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
