"""Arrays of numbers as Postgres reads them, for statements over hundreds of rows.

psycopg looks at each element to find out what it is; here that is known, and it takes a tenth of
the time. The statement says what they are: `CAST(:ids AS bigint [])`.
"""

from collections.abc import Iterable


def array_text(numbers: Iterable[int | None]) -> str:
    """`{1,2,NULL}`. Numbers and nothing else: texts would have to be quoted."""
    return "{" + ",".join(["NULL" if each is None else f"{each:d}" for each in numbers]) + "}"
