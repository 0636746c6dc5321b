"""The SQL of ingestion, one file per statement in `sql/`, each with its contract on top.

A statement works on a relation: a staging table for a bulk file, or rows passed as JSON for the
few objects of a webhook or a read. `$name$` in a file is where the relation goes.
"""

from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from sqlalchemy import TextClause, text

from core.ingestion.rows import ORDER_COLUMNS

_FOLDER: Final = Path(__file__).parent / "sql"
_COMPARED: Final = [name for name, _ in ORDER_COLUMNS if name != "order_id"]

# Last write wins by Shopify's time. At the same time a difference counts: a refund may leave
# `updated_at` as it was.
IS_NEWER: Final = (
    "stored.updated_at <= staged.updated_at AND ({stored}) IS DISTINCT FROM ({staged})".format(
        stored=", ".join(f"stored.{name}" for name in _COMPARED),
        staged=", ".join(f"staged.{name}" for name in _COMPARED),
    )
)

# The staged orders whose version is the stored one.
KEPT: Final = """(
    SELECT stored.order_id
    FROM $orders$
    INNER JOIN raw_shopify.orders AS stored
        ON stored.shop_id = :shop_id
            AND stored.order_id = staged.order_id
            AND stored.updated_at = staged.updated_at
) AS kept"""


# Every bulk file has tables of its own, so not all of these come again.
@lru_cache(maxsize=512)
def statement(name: str, **relations: str) -> TextClause:
    """The statement `name`.sql over the given relations (`$key$` → SQL of ours, never a value)."""
    sql = _read(name)
    for key, relation in ({"kept": KEPT} | relations).items():
        sql = sql.replace(f"${key}$", relation)
    return text(sql)


@cache
def _read(name: str) -> str:
    """Without its comment lines: SQLAlchemy would take `:word` in them for a bind parameter."""
    lines = (_FOLDER / f"{name}.sql").read_text().splitlines()
    sql = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    return sql.replace("$is_newer$", IS_NEWER)
