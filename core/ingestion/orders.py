"""Orders into `raw_shopify`, with their lines and the statistics of everyone they touch.

Here for reads by id; bulk_orders.py does the same for files, the function take_webhooks for
webhooks, with the same statements. Locks are taken in one order by all:
orders by id, then statistics by id, so no two transactions wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import CursorResult, Result
from sqlalchemy.orm import Session

from core.ingestion import statistics
from core.ingestion.rows import LINE_COLUMNS, ORDER_COLUMNS, REFUND_COLUMNS, Row, records, recordset
from core.ingestion.statements import statement

NOT_OLDER: Final = "stored.updated_at <= staged.updated_at"


@dataclass(frozen=True)
class StagedOrders:
    """Orders, their lines and refunds as relations with the aliases `staged`, `staged_line` and
    `staged_refund`.
    """

    orders: str
    lines: str
    refunds: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def run(self, session: Session, name: str, shop_id: int, **values: Any) -> Result[Any]:
        sql = statement(name, orders=self.orders, lines=self.lines, refunds=self.refunds)
        return session.execute(sql, {"shop_id": shop_id, **self.parameters, **values})


def few(orders: Sequence[Row], lines: Sequence[Row], refunds: Sequence[Row]) -> StagedOrders:
    """Some orders, each id once, with all their lines and refunds, passed as parameters."""
    return StagedOrders(
        recordset("orders", "staged", ORDER_COLUMNS),
        recordset("lines", "staged_line", LINE_COLUMNS),
        recordset("refunds", "staged_refund", REFUND_COLUMNS),
        {
            "orders": records(orders, ORDER_COLUMNS),
            "lines": records(lines, LINE_COLUMNS),
            "refunds": records(refunds, REFUND_COLUMNS),
        },
    )


def apply_few(
    session: Session,
    shop_id: int,
    orders: Sequence[Row],
    lines: Sequence[Row],
    *,
    at: datetime,
    refunds: Sequence[Row] = (),
) -> list[int]:
    """Apply the orders of a read; older ones change nothing.

    Returns the ids of orders that differed at the same `updated_at`, where time does not tell
    which state is the later one.
    """
    if not orders:
        return []
    staged = few(orders, lines, refunds)
    inserted = rowcount(staged.run(session, "insert_orders", shop_id))
    touched = _touched_by_few(session, shop_id, staged)
    statistics.lock(session, shop_id, touched)
    contested: list[int] = []
    if inserted < len(orders):
        contested = list(staged.run(session, "contested_orders", shop_id).scalars())
        staged.run(session, "update_orders", shop_id)
        staged.run(session, "delete_gone_lines", shop_id)
        staged.run(session, "delete_gone_refunds", shop_id)
    staged.run(session, "upsert_lines", shop_id)
    if refunds:
        staged.run(session, "upsert_refunds", shop_id)
    statistics.recompute(session, shop_id, touched, touched_at=at)
    staged.run(session, "request_unknown_customers", shop_id, at=at)
    return contested


def _touched_by_few(session: Session, shop_id: int, staged: StagedOrders) -> list[int]:
    found = statement("touched_customers", orders=staged.orders, locked=NOT_OLDER)
    return list(session.execute(found, {"shop_id": shop_id, **staged.parameters}).scalars())


def rowcount(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - every statement here is plain SQL
    return result.rowcount
