{#-
When a table was built, real time: how old is what it says. The only clock that a model reads;
nothing is computed from it, and business time stays `as_of`.
-#}
{% macro built_at() -%}
    clock_timestamp()
{%- endmacro %}
