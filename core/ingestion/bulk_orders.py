"""Orders of a bulk file from their staging tables into `raw_shopify`, in one pass of statements.

The locks and their order are those of core/ingestion/orders.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Result, text
from sqlalchemy.orm import Session

from core.ingestion import statistics
from core.ingestion.orders import rowcount
from core.ingestion.statements import IS_NEWER, statement
from core.ingestion.statistics import Touched

_TOUCHED: Final = Touched("touched_customers AS touched")


@dataclass(frozen=True)
class _Bulk:
    """The staging tables as the relations that the statements name."""

    session: Session
    shop_id: int
    tables: Mapping[str, str]

    def run(self, name: str, *, locked: str = "", **values: Any) -> Result[Any]:
        sql = statement(
            name,
            orders=f"{self.tables['orders']} AS staged",
            orders_table=self.tables["orders"],
            lines=f"{self.tables['order_lines']} AS staged_line",
            refunds=f"{self.tables['refunds']} AS staged_refund",
            staged=f"{self.tables['orders']} AS staged",
            locked=locked,
        )
        return self.session.execute(sql, {"shop_id": self.shop_id, **values})

    def count(self) -> int:
        """How many orders are staged."""
        number: int = self.session.execute(
            text(f"SELECT count(*) FROM {self.tables['orders']}")
        ).scalar_one()
        return number

    def make(self, table: str, column: str) -> None:
        self.session.execute(
            text(f"CREATE TEMP TABLE {table} ({column} bigint PRIMARY KEY) ON COMMIT DROP")
        )

    def analyze(self, table: str) -> None:
        self.session.execute(text(f"ANALYZE {table}"))


def apply_bulk(
    session: Session,
    shop_id: int,
    tables: Mapping[str, str],
    *,
    sync_run_id: int,
    at: datetime,
) -> int:
    """Apply what was staged; `tables` has orders, order_lines and refunds.

    Returns how many lines had no order in the file; they are in `rejected_lines`.
    """
    bulk = _Bulk(session, shop_id, tables)
    orphans = rowcount(bulk.run("reject_orphan_lines", sync_run_id=sync_run_id))
    _leave_what_counts(bulk)
    staged = bulk.count()
    if not staged:
        # Not only quicker: a planner that takes both tables for empty reads the dropped rows anew
        # for each order we hold, and 200,000 unchanged orders took more than two minutes.
        return orphans
    inserted = rowcount(bulk.run("insert_orders"))
    _lock_touched(bulk)
    if inserted < staged:  # on a first sync all are new, and have nothing that could go
        bulk.run("update_orders")
        bulk.run("delete_gone_lines")
        bulk.run("delete_gone_refunds")
    bulk.run("upsert_lines")
    bulk.run("upsert_refunds")
    statistics.recompute_touched(session, shop_id, _TOUCHED, touched_at=at)
    bulk.run("request_unknown_customers", at=at)
    return orphans


def _leave_what_counts(bulk: _Bulk) -> None:
    """Only the newest row of each order stays staged, under the customer who was kept; and of
    those only what is neither deleted nor here already.
    """
    bulk.run("drop_repeated_orders")
    bulk.run("drop_deleted_orders")
    bulk.run("follow_merges")
    bulk.make("incomplete_orders", "order_id")
    bulk.run("find_incomplete_orders")
    bulk.analyze("incomplete_orders")
    if rowcount(bulk.run("drop_unchanged_orders")):
        bulk.analyze(f"{bulk.tables['orders']} (order_id, customer_id, updated_at)")


def _lock_touched(bulk: _Bulk) -> None:
    """The touched customers, kept in the database: a file may touch millions.

    Of the orders only those are locked that will be updated: locking a row writes it, and the
    million that were just inserted are ours anyway.
    """
    bulk.make("touched_customers", "customer_id")
    bulk.run("fill_touched_customers", locked=IS_NEWER)
    bulk.analyze("touched_customers")
    statistics.lock_touched(bulk.session, bulk.shop_id, _TOUCHED)
