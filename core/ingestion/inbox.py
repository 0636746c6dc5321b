"""The webhook inbox: verify, store and apply in one transaction, then answer.

A rightly signed webhook is never lost: what cannot be applied stays as `failed` with the reason,
and what may succeed later is tried again. The shop and topic headers are not under the signature:
the secret is chosen by shop, and a body that names another shop is refused.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.ingestion.apply import apply_webhook
from core.ingestion.backoff import INBOX_SECONDS, after
from core.ingestion.statements import statement
from core.models import InboxMessage, Shop
from core.models.enums import InboxState
from core.secrets import SecretBox
from core.settings import Settings
from core.shopify.rest import BodyError
from core.shopify.webhooks import MAX_BODY, Delivery, is_signed, read_headers
from core.shops import business_clock, shop_by_domain

log = logging.getLogger(__name__)

# Shopify gives us five seconds; whoever holds the rows (a sync that commits) may take longer, and
# then the webhook is applied by the next activation run.
LOCK_TIMEOUT: Final = "3s"
_RETRIED: Final = frozenset({"40001", "40P01", "55P03", "57014"})  # serialization, locks, timeouts


@dataclass(frozen=True)
class Received:
    """The HTTP status to answer with; `state` None: nothing was stored."""

    status: int
    state: InboxState | None = None


@dataclass(frozen=True)
class InboxReport:
    """What one round of retries did."""

    applied: int = 0
    failed: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class _Outcome:
    state: InboxState
    error: str | None = None
    is_transient: bool = False


def receive(
    factory: SessionFactory,
    *,
    headers: Mapping[str, str],
    body: bytes,
    settings: Settings,
    clock: Clock,
) -> Received:
    """Store and apply one delivery; returns after the commit.

    401 wrong or missing signature or unknown shop (nothing stored) · 413 too large (nothing
    stored) · 503 our trouble, Shopify delivers again · 200 everything else: applied, ignored,
    come before, or kept as failed.
    """
    if len(body) > MAX_BODY:
        return Received(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    delivery = read_headers(headers, body)
    try:
        with session_scope(factory) as session:
            shop = shop_by_domain(session, delivery.domain)
            if shop is None or not is_signed(body, delivery.signature, _secrets(shop, settings)):
                return Received(HTTPStatus.UNAUTHORIZED)
            return _store(session, shop, delivery, body, clock=clock)
    except OperationalError as error:
        log.warning("A webhook was refused, the database has trouble: %s", type(error.orig))
    except PermanentError as error:
        log.error("A webhook was refused: %s", error)  # noqa: TRY400 - our words say it all
    return Received(HTTPStatus.SERVICE_UNAVAILABLE)


def _secrets(shop: Shop, settings: Settings) -> list[str]:
    box = SecretBox(settings.secret_key)
    stored = (shop.client_secret_encrypted, shop.previous_client_secret_encrypted)
    return [box.decrypt(secret) for secret in stored if secret]


def _store(
    session: Session, shop: Shop, delivery: Delivery, body: bytes, *, clock: Clock
) -> Received:
    session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    stored: str | None = session.execute(
        statement("store_webhook"),
        {
            "shop_id": shop.shop_id,
            "webhook_id": delivery.webhook_id,
            "topic": delivery.topic,
            "event_id": delivery.event_id,
            "triggered_at": delivery.triggered_at,
            "api_version": delivery.api_version,
            "body": body,
        },
    ).scalar_one_or_none()
    if stored is None:
        return Received(HTTPStatus.OK)
    at = business_clock(shop, clock).now()
    outcome = _attempt(session, shop, delivery.topic, body, at=at)
    _settle(session, shop.shop_id, delivery.webhook_id, outcome, attempts=1, at=at)
    return Received(HTTPStatus.OK, outcome.state)


def _attempt(session: Session, shop: Shop, topic: str, body: bytes, *, at: datetime) -> _Outcome:
    """Apply within a savepoint: whatever goes wrong, the inbox row stays."""
    try:
        with session.begin_nested():
            applied = apply_webhook(session, shop, topic, body, at=at)
        return _Outcome(InboxState.APPLIED if applied else InboxState.IGNORED)
    except BodyError as error:
        log.warning("Shop %d: a %s webhook cannot be applied.", shop.shop_id, topic)
        return _Outcome(InboxState.FAILED, str(error))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return _database_refused(shop, topic, error)
    except Exception as error:
        # A bug of ours must not make Shopify drop the subscription after eight refusals, nor lose
        # the body: it stays, and is tried again after the next release.
        log.exception("Shop %d: applying a %s webhook failed.", shop.shop_id, topic)
        words = f"An error of EcomCRM itself ({type(error).__name__}); the log has the details."
        return _Outcome(InboxState.FAILED, words, is_transient=True)


def _database_refused(shop: Shop, topic: str, error: DBAPIError) -> _Outcome:
    code = getattr(error.orig, "sqlstate", None) or ""
    log.warning("Shop %d: the database refuses a %s webhook (%s).", shop.shop_id, topic, code)
    is_transient = code in _RETRIED or isinstance(error, OperationalError)
    words = f"The database could not take it ({type(error.orig).__name__}, {code})."
    return _Outcome(InboxState.FAILED, words, is_transient=is_transient)


def _settle(
    session: Session,
    shop_id: int,
    webhook_id: str,
    outcome: _Outcome,
    *,
    attempts: int,
    at: datetime,
) -> bool:
    """Write down what became of it; True when it will be tried again."""
    seconds = after(attempts, INBOX_SECONDS) if outcome.is_transient else None
    session.execute(
        statement("settle_webhook"),
        {
            "shop_id": shop_id,
            "webhook_id": webhook_id,
            "state": outcome.state.value,
            "error": outcome.error.replace("\x00", "") if outcome.error else None,
            "seconds": seconds,
            "applied_at": at if outcome.state is InboxState.APPLIED else None,
        },
    )
    return seconds is not None


def retry_due(factory: SessionFactory, *, clock: Clock, limit: int = 100) -> InboxReport:
    """Try failed webhooks again whose time has come, each in a transaction of its own."""
    applied = failed = given_up = 0
    for _ in range(limit):
        outcome = _retry_one(factory, clock)
        if outcome is None:
            break
        state, again = outcome
        applied += state is not InboxState.FAILED
        failed += state is InboxState.FAILED
        given_up += state is InboxState.FAILED and not again
    return InboxReport(applied=applied, failed=failed, given_up=given_up)


def _retry_one(factory: SessionFactory, clock: Clock) -> tuple[InboxState, bool] | None:
    with session_scope(factory) as session:
        row = session.execute(statement("claim_webhook")).one_or_none()
        if row is None:
            return None
        shop = session.get_one(Shop, row.shop_id)
        at = business_clock(shop, clock).now()
        outcome = _attempt(session, shop, row.topic, row.body, at=at)
        attempts = row.attempts + 1
        again = _settle(session, shop.shop_id, row.webhook_id, outcome, attempts=attempts, at=at)
        return outcome.state, again


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
