"""Products into `raw_shopify`: what is needed to show a line item."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from core.ingestion.rows import PRODUCT_COLUMNS, Row, records, recordset
from core.ingestion.statements import statement

_FEW: Final = recordset("products", "staged", PRODUCT_COLUMNS)


def apply_whole(session: Session, shop_id: int, products: Sequence[Row]) -> None:
    """Products as reads by id answer them; older ones change nothing."""
    if products:
        session.execute(
            statement("upsert_products", products=_FEW, tie="staged.updated_at"),
            {"shop_id": shop_id, "products": records(products, PRODUCT_COLUMNS)},
        )


def request_unknown(
    session: Session, shop_id: int, product_ids: Iterable[int], *, at: datetime
) -> None:
    """Have those be read that we do not know, once each."""
    ids = sorted(set(product_ids))
    if ids:
        session.execute(
            statement(
                "request_unknown_products", unknown=statement("unknown_products").text.strip()
            ),
            {"shop_id": shop_id, "product_ids": ids, "at": at},
        )


def apply_bulk(session: Session, shop_id: int, table: str) -> None:
    """What was copied into the staging table."""
    session.execute(
        statement("upsert_products", products=f"{table} AS staged", tie="staged.line_number DESC"),
        {"shop_id": shop_id},
    )
