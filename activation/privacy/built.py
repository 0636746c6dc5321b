"""Tables that dbt built, which belong to erasure. Most of what it builds are views."""

from sqlalchemy import text
from sqlalchemy.orm import Session

BUILT_TABLES = text("""
-- Returns names of dbt's tables with a column of that name. Changes nothing. The catalogue.
SELECT format('%I.%I', tables.table_schema, tables.table_name)
FROM information_schema.tables AS tables
INNER JOIN information_schema.columns AS columns
    ON
        tables.table_schema = columns.table_schema
        AND tables.table_name = columns.table_name
WHERE
    tables.table_schema IN ('staging', 'intermediate', 'marts')
    AND tables.table_type = 'BASE TABLE'
    AND columns.column_name = :column
ORDER BY 1
""")


def built_tables(session: Session, *, having: str) -> list[str]:
    """Tables that dbt built (most of what it builds are views) and that have this column."""
    return list(session.scalars(BUILT_TABLES, {"column": having}))
