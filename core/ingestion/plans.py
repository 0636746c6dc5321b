"""Plans over staged rows that no wrong statistics can make slow.

While a file's first rows are not committed yet, an ANALYZE of anybody's counts them as none, and
until the next one the planner takes a table of millions for empty. It then reads it once and, as
for a single row, the staged rows anew for each row that there is: 200,000 unchanged orders took
minutes, a million would have taken hours. Right statistics of the staged rows alone do not help.

So many staged rows are never joined by a loop, and few have an index for it: either way each row
of a shop costs a look-up at most.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# Up to so many rows a loop over the staged rows, with an index into the shop's, is the best plan.
MANY: Final = 20_000


def are_many(session: Session, tables: Iterable[str]) -> bool:
    """Whether one of the tables has more rows than MANY; reads no more of each."""
    return any(
        session.execute(
            text(f"SELECT count(*) > :many FROM (SELECT FROM {table} LIMIT :many + 1) AS found"),
            {"many": MANY},
        ).scalar_one()
        for table in tables
    )


def index_few(session: Session, table: str, columns: Sequence[str]) -> None:
    """For rows that may be joined by a loop."""
    for column in columns:
        session.execute(text(f"CREATE INDEX ON {table} ({column})"))


def bound(session: Session, tables: Iterable[str]) -> None:
    """No loops until the transaction ends, if one of these has many rows."""
    if are_many(session, tables):
        session.execute(text("SET LOCAL enable_nestloop = off"))
