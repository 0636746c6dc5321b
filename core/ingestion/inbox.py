"""The webhook inbox: verify, store and apply in one transaction, then answer.

A rightly signed webhook is never lost: what cannot be applied stays as `failed` with the reason,
and what may succeed later is tried again. The shop and topic headers are not under the signature:
the secret is chosen by shop, and a body that names another shop is refused.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.ingestion import keys
from core.ingestion.apply import Incoming
from core.ingestion.calls import Group, Outcome
from core.ingestion.groups import AGAIN, Received, receive_group
from core.ingestion.keys import KnownShop
from core.ingestion.statements import statement
from core.ingestion.taking import BusyError, refused, take
from core.models import InboxMessage, Shop
from core.models.enums import InboxState
from core.settings import Settings
from core.shopify.webhooks import MAX_BODY, Delivery, read_headers
from core.shops import business_clock

__all__ = ["InboxReport", "Received", "failed_count", "failed_messages", "incoming", "receive"]

log = logging.getLogger(__name__)

# Shopify gives us five seconds; whoever holds the rows (a sync that commits) may take longer, and
# then the webhook is applied by the next activation run.
LOCK_TIMEOUT: Final = "3s"
BUSY_SECONDS: Final = 5.0


@dataclass(frozen=True)
class InboxReport:
    """What one round of retries did."""

    applied: int = 0
    failed: int = 0
    given_up: int = 0


def receive(
    factory: SessionFactory,
    *,
    headers: Mapping[str, str],
    body: bytes,
    settings: Settings,
    clock: Clock,
) -> Received:
    """Store and apply one delivery alone; returns after the commit.

    401 wrong or missing signature or unknown shop (nothing stored) · 413 too large (nothing
    stored) · 503 our trouble, Shopify delivers again · 200 everything else: applied, ignored,
    come before, or kept as failed.
    """
    if len(body) > MAX_BODY:
        return Received(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    delivery = read_headers(headers, body)
    try:
        with session_scope(factory) as session:
            shop = keys.load(session, delivery.domain, settings.secret_key)
        if shop is None or not shop.signed(body, delivery.signature):
            return Received(HTTPStatus.UNAUTHORIZED)
        group = Group(factory, shop, settings, clock, lock_timeout=LOCK_TIMEOUT, is_hasty=False)
        [answer] = receive_group(group, [incoming(shop, delivery, body)])
    except OperationalError as error:
        log.warning("A webhook was refused, the database has trouble: %s", type(error.orig))
        return AGAIN
    except PermanentError as error:
        log.error("A webhook was refused: %s", error)  # noqa: TRY400 - our words say it all
        return AGAIN
    return answer


def incoming(shop: KnownShop, delivery: Delivery, body: bytes) -> Incoming:
    return Incoming(
        shop=shop,
        topic=delivery.topic,
        webhook_id=delivery.webhook_id,
        body=body,
        triggered_at=delivery.triggered_at,
        event_id=delivery.event_id,
        api_version=delivery.api_version,
    )


def retry_due(
    factory: SessionFactory, *, settings: Settings, clock: Clock, limit: int = 100
) -> InboxReport:
    """Try webhooks again whose time has come, each in a transaction of its own."""
    applied = failed = given_up = 0
    for _ in range(limit):
        outcome = _retry_one(factory, settings, clock)
        if outcome is None:
            break
        applied += outcome.state in (InboxState.APPLIED, InboxState.IGNORED)
        failed += outcome.state is InboxState.FAILED
        given_up += outcome.state is InboxState.FAILED and outcome.seconds is None
    return InboxReport(applied=applied, failed=failed, given_up=given_up)


def _retry_one(factory: SessionFactory, settings: Settings, clock: Clock) -> Outcome | None:
    with session_scope(factory) as session:
        row = session.execute(statement("claim_webhook")).one_or_none()
        if row is None:
            return None
        shop = session.get_one(Shop, row.shop_id)
        known = keys.load(session, shop.domain, settings.secret_key)
        assert known is not None  # noqa: S101 - its row is there
        letter = Incoming(known, row.topic, row.webhook_id, row.body, row.triggered_at)
        group = Group(factory, known, settings, clock, lock_timeout=LOCK_TIMEOUT, is_hasty=False)
        outcome = _attempt(session, group, letter, attempts=row.attempts)
        at = business_clock(shop, clock).now()
        session.execute(
            statement("settle_webhook"),
            {
                "shop_id": shop.shop_id,
                "webhook_id": row.webhook_id,
                "state": outcome.state.value,
                "error": outcome.error,
                "seconds": outcome.seconds,
                "attempts": row.attempts + (outcome.state is not InboxState.RECEIVED),
                "applied_at": at if outcome.state is InboxState.APPLIED else None,
            },
        )
        return outcome


def _attempt(session: Session, group: Group, letter: Incoming, *, attempts: int) -> Outcome:
    """Apply within a savepoint: whatever goes wrong, the claim stays."""
    try:
        with session.begin_nested():
            [outcome] = take(session, group, [letter], attempts=attempts, is_stored=True)
    except BusyError:
        return Outcome(InboxState.RECEIVED, seconds=BUSY_SECONDS)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return refused(group.shop, letter.topic, error, attempts=attempts + 1)
    except Exception as error:  # noqa: BLE001 - a bug of ours loses no webhook
        return refused(group.shop, letter.topic, error, attempts=attempts + 1)
    return outcome


def retry_failed(session: Session, shop_id: int, ids: Sequence[str] | None = None) -> int:
    """Have failed webhooks tried again, now and as often as new ones: all, or those of `ids`.

    Returns how many.
    """
    found = session.execute(
        text(
            "UPDATE raw_shopify.webhook_inbox"
            " SET attempts = 0, next_attempt_at = clock_timestamp()"
            " WHERE shop_id = :shop_id AND state = 'failed'"
            " AND (CAST(:ids AS text[]) IS NULL OR webhook_id = ANY(CAST(:ids AS text[])))"
            " RETURNING webhook_id"
        ),
        {"shop_id": shop_id, "ids": None if ids is None else list(ids)},
    )
    return len(found.all())


def failed_count(session: Session, shop_id: int) -> int:
    """How many webhooks wait as failed."""
    return session.scalars(
        select(func.count())
        .select_from(InboxMessage)
        .where(InboxMessage.shop_id == shop_id, InboxMessage.state == InboxState.FAILED)
    ).one()


def failed_messages(session: Session, shop_id: int, *, limit: int = 20) -> list[InboxMessage]:
    """The latest failed webhooks, with topic and error."""
    return list(
        session.scalars(
            select(InboxMessage)
            .where(InboxMessage.shop_id == shop_id, InboxMessage.state == InboxState.FAILED)
            .order_by(InboxMessage.received_at.desc())
            .limit(limit)
        )
    )
