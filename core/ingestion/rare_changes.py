"""What only few webhooks change, in statements of their own around those of the orders."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion import compliance, deletions, merges
from core.ingestion.changes import Changes
from core.ingestion.statements import statement
from core.models.enums import PrivacyKind
from core.shopify.rest import LONG_AGO
from core.shopify.rest_events import Consent

_CONSENTS = (
    "jsonb_to_recordset(CAST(:consents AS jsonb)) AS told (customer_id bigint, email text,"
    " consent_state text, consent_level text, consent_updated_at timestamptz)"
)


def before_orders(session: Session, shop_id: int, changes: Changes, *, at: datetime) -> None:
    """Customers come first in the order of locks; deletions and merges hold all writers anyway."""
    if changes.consents:
        _set_consents(session, shop_id, changes.consents)
    gone = {number: when or at for number, when in sorted(changes.gone_customers.items())}
    deletions.hide_customers(session, shop_id, gone)
    deletions.delete_orders(
        session,
        shop_id,
        {number: when or at for number, when in sorted(changes.gone_orders.items())},
        at=at,
    )
    for told, when in changes.merges:
        merges.merge(session, shop_id, told, merged_at=when or at, at=at)


def after_orders(session: Session, shop_id: int, changes: Changes, *, at: datetime) -> None:
    for token, number, when in changes.gone_checkouts:
        deletions.hide_checkout(session, shop_id, token=token, number=number, gone_at=when or at)
    for wish in changes.privacy:
        compliance.add_request(
            session,
            shop_id,
            webhook_id=wish.webhook_id,
            kind=wish.kind,
            subject=wish.subject if wish.kind is not PrivacyKind.SHOP_REDACT else None,
            at=at,
        )
    for when in changes.uninstalled:
        _uninstall(session, shop_id, triggered_at=when, at=at)
    if changes.finished_operations:
        session.execute(
            text(
                "UPDATE raw_shopify.bulk_operations SET announced_at = clock_timestamp()"
                " WHERE shop_id = :shop_id AND operation_id = ANY(CAST(:ids AS text[]))"
                " AND announced_at IS NULL"
            ),
            {"shop_id": shop_id, "ids": changes.finished_operations},
        )


def _set_consents(session: Session, shop_id: int, consents: list[Consent]) -> None:
    told = [
        {
            "customer_id": consent.customer_id,
            "email": consent.email,
            "consent_state": consent.state,
            "consent_level": consent.level,
            "consent_updated_at": consent.updated_at,
        }
        for consent in consents
    ]
    session.execute(
        statement("set_consents", consents=_CONSENTS),
        {
            "shop_id": shop_id,
            "consents": msgspec.json.encode(told).decode(),
            "long_ago": LONG_AGO,
        },
    )


def _uninstall(
    session: Session, shop_id: int, *, triggered_at: datetime | None, at: datetime
) -> None:
    """Unless the shop has answered us since: then the app was installed again before this came."""
    session.execute(
        text(
            "UPDATE crm.shops SET uninstalled_at = coalesce(:triggered_at, :at)"
            " WHERE shop_id = :shop_id AND uninstalled_at IS NULL"
            " AND NOT coalesce(webhooks_checked_at >= :triggered_at, FALSE)"
        ),
        {"shop_id": shop_id, "triggered_at": triggered_at, "at": at},
    )
