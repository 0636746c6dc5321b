"""Customers into `raw_shopify`: whole from bulk files and reads, partial from webhooks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion.rows import CUSTOMER_COLUMNS, Row, records, recordset
from core.ingestion.statements import statement
from core.shopify.rest import WebhookCustomer

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


def apply_webhook(session: Session, shop_id: int, customer: WebhookCustomer) -> bool:
    """A customer as a webhook tells it: never consent or tags (shopify.md §4.3).

    True when the customer must be read: the consent is not known, or the customer moved and the
    consent may have moved with it, or two states bear one time and only Shopify knows the later.
    """
    told = {
        "shop_id": shop_id,
        "customer_id": customer.customer_id,
        "email": customer.email,
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "phone": customer.phone,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    }
    moved = session.execute(statement("upsert_webhook_customer"), told).scalar_one_or_none()
    return moved is not None or _is_contested(session, told)


def _is_contested(session: Session, told: Mapping[str, object]) -> bool:
    return bool(session.execute(statement("contested_customer"), told).scalar_one())


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
