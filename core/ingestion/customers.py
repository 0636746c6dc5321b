"""Whole customers into `raw_shopify`, from bulk files and reads by id.

What webhooks tell of them is written by the database's function take_webhooks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion.rows import CUSTOMER_COLUMNS, Row, records, recordset
from core.ingestion.statements import statement

_FEW: Final = recordset("customers", "staged", CUSTOMER_COLUMNS)


def apply_whole(session: Session, shop_id: int, customers: Sequence[Row]) -> None:
    """Customers as GraphQL answers them, consent and tags included; older ones change nothing."""
    if customers:
        session.execute(
            statement("upsert_customers", customers=_FEW, tie="staged.updated_at"),
            {"shop_id": shop_id, "customers": records(customers, CUSTOMER_COLUMNS)},
        )


def apply_bulk(session: Session, shop_id: int, table: str) -> None:
    """What was copied into the staging table."""
    session.execute(
        statement(
            "upsert_customers", customers=f"{table} AS staged", tie="staged.line_number DESC"
        ),
        {"shop_id": shop_id},
    )


def held_versions(
    session: Session, shop_id: int, customer_ids: Sequence[int]
) -> dict[int, datetime]:
    """`updated_at` of those customers that are stored, by id."""
    rows = session.execute(
        text(
            "SELECT customer_id, updated_at FROM raw_shopify.customers"
            " WHERE shop_id = :shop_id AND customer_id = ANY(CAST(:ids AS bigint[]))"
        ),
        {"shop_id": shop_id, "ids": list(customer_ids)},
    )
    return {row.customer_id: row.updated_at for row in rows}
