"""Statistics of a shop computed anew from its orders because a person asked: what the data gate
asks for where they differ. Every night does the same by itself; who, when and what changed is kept.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.models import AuditEntry
from core.models.enums import AuditAction

READ_TOTALS: Final = text("""
-- Returns what the statistics of a shop come to. Changes nothing. Reads all rows of the shop:
-- pk_customer_statistics.
SELECT
    coalesce(sum(order_count), 0) AS orders,
    coalesce(sum(total_spent), 0) AS spent
FROM raw_shopify.customer_statistics
WHERE shop_id = :shop_id
""")


@dataclass(frozen=True)
class Totals:
    """Of all customers of a shop; spent in its currency."""

    orders: int
    spent: Decimal


@dataclass(frozen=True)
class Repair:
    """How many customers' statistics were wrong, and what all came to before and after."""

    customers: int
    before: Totals
    after: Totals


def repair_statistics(
    factory: SessionFactory,
    *,
    shop_id: int,
    now: datetime,
    reason: str = "",
    user_id: int | None = None,
) -> Repair:
    """Put the wrong ones right, in one transaction with the audit entry; none wrong, no entry.

    A hold stays: a full run decides anew. `user_id` None: whoever may use the command line.
    """
    with session_scope(factory) as session:
        # Looked for without a lock at first: where all is right, orders do not wait.
        if not statistics.mismatches(session, shop_id):
            totals = _totals(session, shop_id)
            return Repair(0, totals, totals)
        statistics.lock_touched(session, shop_id, statistics.Touched(statistics.ALL_CUSTOMERS))
        wrong, before = statistics.mismatches(session, shop_id), _totals(session, shop_id)
        statistics.recompute_all(session, shop_id, touched_at=now)
        done = Repair(wrong, before, _totals(session, shop_id))
        session.add(
            AuditEntry(
                shop_id=shop_id,
                acted_at=now,
                user_id=user_id,
                action=AuditAction.REPAIR_STATISTICS,
                reason=reason.strip() or "No reason was given.",
                figures=_figures(done),
            )
        )
    return done


def _totals(session: Session, shop_id: int) -> Totals:
    row = session.execute(READ_TOTALS, {"shop_id": shop_id}).one()
    return Totals(row.orders, row.spent)


def _figures(done: Repair) -> dict[str, Any]:
    """As JSON: money as text, to the last digit."""
    figures = asdict(done)
    for name in ("before", "after"):
        figures[name]["spent"] = str(figures[name]["spent"])
    return figures
