r"""Rows as the text that COPY reads: CSV with tabs.

CSV and not COPY's own text format, because there a quoted JSON string of Shopify's is a field as
it stands (core/ingestion/spelled.py): `"` begins and ends it, `\"` is a quote inside, and nothing
between two tabs is NULL while `""` is empty.
"""

from typing import Final

from core.ingestion.rows import Columns, Row

OPTIONS: Final = r"""FORMAT csv, DELIMITER E'\t', QUOTE '"', ESCAPE '\', NULL ''"""

# PostgreSQL's text holds no NUL.
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\x00": ""})


def copy_statement(table: str, columns: Columns) -> str:
    listed = ", ".join(column for column, _ in columns)
    return f"COPY {table} ({listed}) FROM STDIN WITH ({OPTIONS})"


def copy_line(row: Row) -> bytes:
    """One row; half a surrogate pair, which is no text anywhere, becomes `?`."""
    return ("\t".join(["" if value is None else _quoted(value) for value in row]) + "\n").encode(
        errors="replace"
    )


def _quoted(value: str) -> str:
    if '"' not in value and "\\" not in value and "\x00" not in value:
        return f'"{value}"'
    return f'"{value.translate(_ESCAPES)}"'
