r"""Rows as the text that COPY reads: a line each, tabs between the values.

NULL is one control character, so that a backslash always begins an escape: none stands in plain
rows (core/ingestion/plain.py) but those of texts, and these are doubled all at once.
"""

from typing import Final

from core.ingestion.rows import Columns, Row

NULL: Final = "\x01"
OPTIONS: Final = r"FORMAT text, NULL E'\x01'"

# PostgreSQL's text holds no NUL. A text that is NULL's character alone is no NULL.
_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", NULL: r"\001", "\x00": ""}
)


def copy_statement(table: str, columns: Columns) -> str:
    listed = ", ".join(column for column, _ in columns)
    return f"COPY {table} ({listed}) FROM STDIN WITH ({OPTIONS})"


def copy_line(row: Row) -> bytes:
    """One row; half a surrogate pair, which is no text anywhere, becomes `?`."""
    cells = [NULL if value is None else value.translate(_ESCAPES) for value in row]
    return ("\t".join(cells) + "\n").encode(errors="replace")
