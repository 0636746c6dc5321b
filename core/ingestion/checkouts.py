"""Checkouts of a bulk file into `raw_shopify`, each under the key it shares with its webhooks."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from core.ingestion.checkout_key import checkout_key
from core.ingestion.orders import rowcount
from core.ingestion.statements import statement

__all__ = ["apply_bulk", "checkout_key"]


def apply_bulk(
    session: Session, shop_id: int, tables: Mapping[str, str], *, sync_run_id: int
) -> int:
    """Apply what was staged; `tables` has checkouts and checkout_lines.

    Returns how many lines had no checkout in the file; they are in `rejected_lines`.
    """
    checkouts, lines = f"{tables['checkouts']} AS staged", f"{tables['checkout_lines']} AS line"
    orphans = rowcount(
        session.execute(
            statement("reject_orphan_checkout_lines", checkouts=checkouts, lines=lines),
            {"shop_id": shop_id, "sync_run_id": sync_run_id},
        )
    )
    session.execute(statement("follow_merges", staged=checkouts), {"shop_id": shop_id})
    for name in ("upsert_checkouts", "name_checkouts"):
        session.execute(statement(name, checkouts=checkouts, lines=lines), {"shop_id": shop_id})
    return orphans
