"""Order statistics per customer: how they change, and whether they are right (DESIGN §4).

Whoever writes orders locks the statistics of all touched customers first and recomputes them
last, in the same transaction:

    touched = new and previous customer of each order
    lock(...)        rows inserted if absent, then locked in id order
    (write the orders)
    recompute(...)   in a statement of its own, so that it sees what others committed meanwhile

Without the lock two transactions of one customer each count without the other's order, and the
later one to commit overwrites the sum with its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from core.ingestion.statements import statement

ALL_CUSTOMERS: Final = """(
    SELECT customer_id FROM raw_shopify.customer_statistics WHERE shop_id = :shop_id
    UNION
    SELECT customer_id FROM raw_shopify.orders
    WHERE shop_id = :shop_id AND customer_id IS NOT NULL
) AS touched"""


@dataclass(frozen=True)
class Touched:
    """Which customers, as a relation with the alias `touched` and the column `customer_id`."""

    relation: str
    parameters: dict[str, Any] = field(default_factory=dict)


def of(customer_ids: Sequence[int]) -> Touched:
    return Touched(
        "unnest(CAST(:customer_ids AS bigint[])) AS touched (customer_id)",
        {"customer_ids": sorted(set(customer_ids))},
    )


def lock(session: Session, shop_id: int, customer_ids: Sequence[int]) -> None:
    """Insert absent rows, then hold all of these customers' rows until the transaction ends."""
    if customer_ids:
        lock_touched(session, shop_id, of(customer_ids))


def lock_touched(session: Session, shop_id: int, touched: Touched) -> None:
    session.execute(
        statement("lock_statistics", touched=touched.relation),
        {"shop_id": shop_id, **touched.parameters},
    )


def recompute(
    session: Session, shop_id: int, customer_ids: Sequence[int], *, touched_at: datetime
) -> None:
    """Statistics of customers whose rows are locked; who changed is touched, at `touched_at`."""
    if customer_ids:
        recompute_touched(session, shop_id, of(customer_ids), touched_at=touched_at)


def recompute_touched(
    session: Session, shop_id: int, touched: Touched, *, touched_at: datetime
) -> None:
    session.execute(
        statement("recompute_statistics", touched=touched.relation),
        {"shop_id": shop_id, "touched_at": touched_at, **touched.parameters},
    )


def recompute_all(session: Session, shop_id: int, *, touched_at: datetime) -> None:
    """Every customer's statistics anew from the orders; only wrong rows change."""
    everyone = Touched(ALL_CUSTOMERS)
    lock_touched(session, shop_id, everyone)
    recompute_touched(session, shop_id, everyone, touched_at=touched_at)


def mismatches(session: Session, shop_id: int) -> int:
    """How many customers' statistics differ from their orders; anything but 0 is an error."""
    count: int = session.execute(statement("count_mismatches"), {"shop_id": shop_id}).scalar_one()
    return count
