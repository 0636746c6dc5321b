{#- Every row whose columns are all set has a row with the same columns in `to`. -#}
{% test belongs_to(model, columns, to) %}
select {{ columns | join(', ') }}
from {{ model }} as child
where
    {%- for column in columns %}
    child.{{ column }} is not null
    and
    {%- endfor %}
    not exists (
        select 1
        from {{ to }} as parent
        where
            {%- for column in columns %}
            {{ 'and ' if not loop.first }}parent.{{ column }} = child.{{ column }}
            {%- endfor %}
    )
{% endtest %}
