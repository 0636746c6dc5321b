"""Orders into `raw_shopify`, with their lines and the statistics of everyone they touch.

The one way in for bulk files, webhooks and refreshes. Locks are taken in one order by all:
orders by id, then statistics by id, so no two transactions wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import CursorResult, Result, text
from sqlalchemy.orm import Session

from core.ingestion import statistics
from core.ingestion.rows import LINE_COLUMNS, ORDER_COLUMNS, Row, records, recordset
from core.ingestion.statements import IS_NEWER, statement
from core.ingestion.statistics import Touched

# Few orders are all locked. Of a bulk file only those that will be updated: locking a row writes
# it, and the million that were just inserted are ours anyway.
_NOT_OLDER: Final = "stored.updated_at <= staged.updated_at"
_TOUCHED_TABLE: Final = Touched("touched_customers AS touched")


@dataclass(frozen=True)
class StagedOrders:
    """Orders and their lines as relations with the aliases `staged` and `staged_line`."""

    orders: str
    lines: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def run(self, session: Session, name: str, shop_id: int, **values: Any) -> Result[Any]:
        sql = statement(name, orders=self.orders, lines=self.lines)
        return session.execute(sql, {"shop_id": shop_id, **self.parameters, **values})


BULK: Final = StagedOrders("staged_orders AS staged", "staged_lines AS staged_line")


def few(orders: Sequence[Row], lines: Sequence[Row]) -> StagedOrders:
    """Some orders, each id once, with all their lines, passed as parameters."""
    return StagedOrders(
        recordset("orders", "staged", ORDER_COLUMNS),
        recordset("lines", "staged_line", LINE_COLUMNS),
        {"orders": records(orders, ORDER_COLUMNS), "lines": records(lines, LINE_COLUMNS)},
    )


def apply_few(
    session: Session,
    shop_id: int,
    orders: Sequence[Row],
    lines: Sequence[Row],
    *,
    at: datetime,
) -> list[int]:
    """Apply the orders of a webhook or a read; older ones change nothing.

    Returns the ids of orders that differed at the same `updated_at`, where time does not tell
    which state is the later one.
    """
    if not orders:
        return []
    staged = few(orders, lines)
    inserted = _rowcount(staged.run(session, "insert_orders", shop_id))
    touched = _touched_by_few(session, shop_id, staged)
    statistics.lock(session, shop_id, touched)
    contested: list[int] = []
    if inserted < len(orders):
        contested = list(staged.run(session, "contested_orders", shop_id).scalars())
        staged.run(session, "update_orders", shop_id)
        staged.run(session, "delete_gone_lines", shop_id)
    staged.run(session, "upsert_lines", shop_id)
    statistics.recompute(session, shop_id, touched, touched_at=at)
    staged.run(session, "request_unknown_customers", shop_id, at=at)
    return contested


def apply_bulk(session: Session, shop_id: int, *, sync_run_id: int, at: datetime) -> int:
    """Apply what was copied into `staged_orders` and `staged_lines`.

    Returns how many lines had no order in the file; they are in `rejected_lines`.
    """
    for table in ("staged_orders", "staged_lines"):
        session.execute(text(f"ANALYZE {table}"))
    orphans = _rowcount(BULK.run(session, "reject_orphan_lines", shop_id, sync_run_id=sync_run_id))
    BULK.run(session, "drop_repeated_orders", shop_id)
    session.execute(text("CREATE TEMP TABLE incomplete_orders (order_id bigint) ON COMMIT DROP"))
    BULK.run(session, "find_incomplete_orders", shop_id)
    session.execute(text("ANALYZE incomplete_orders"))
    BULK.run(session, "drop_unchanged_orders", shop_id)
    BULK.run(session, "insert_orders", shop_id)
    session.execute(text("CREATE TEMP TABLE touched_customers (customer_id bigint) ON COMMIT DROP"))
    _fill_touched(session, shop_id)
    statistics.lock_touched(session, shop_id, _TOUCHED_TABLE)
    BULK.run(session, "update_orders", shop_id)
    BULK.run(session, "delete_gone_lines", shop_id)
    BULK.run(session, "upsert_lines", shop_id)
    statistics.recompute_touched(session, shop_id, _TOUCHED_TABLE, touched_at=at)
    BULK.run(session, "request_unknown_customers", shop_id, at=at)
    return orphans


def _touched_by_few(session: Session, shop_id: int, staged: StagedOrders) -> list[int]:
    found = statement("touched_customers", orders=staged.orders, locked=_NOT_OLDER)
    return list(session.execute(found, {"shop_id": shop_id, **staged.parameters}).scalars())


def _fill_touched(session: Session, shop_id: int) -> None:
    """The touched customers, kept in the database: a file may touch millions."""
    found = statement("touched_customers", orders=BULK.orders, locked=IS_NEWER)
    session.execute(text(f"INSERT INTO touched_customers {found.text}"), {"shop_id": shop_id})
    session.execute(text("ANALYZE touched_customers"))


def _rowcount(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - every statement here is plain SQL
    return result.rowcount
