"""Products of a bulk file into `raw_shopify`: what is needed to show a line item."""

from sqlalchemy.orm import Session

from core.ingestion.statements import statement


def apply_bulk(session: Session, shop_id: int, table: str) -> None:
    """What was copied into the staging table."""
    session.execute(
        statement("upsert_products", products=f"{table} AS staged", tie="staged.line_number DESC"),
        {"shop_id": shop_id},
    )
