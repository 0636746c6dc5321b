"""Writing what waits to Shopify, one wish at a time, with no transaction open.

A consent is read before it is written: a subscription later than the wish stands, and so does what
others wrote there (DESIGN §4). Repeating any of it changes nothing at Shopify.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.writeback import CONFIRMED
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.granted import CANNOT_WRITE
from core.ingestion import refresh
from core.models import Shop
from core.models.enums import ConsentState, ObjectType, WriteBackKind, WriteBackState
from core.shopify import gid
from core.shopify.client import ShopifyClient
from core.shopify.documents import load
from core.shopify.errors import AccessDeniedError
from core.shops import business_clock

BATCH: Final = 25
LEASE: Final = timedelta(minutes=5)  # more than the longest call with all its retries
FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_RETRY: Final = timedelta(hours=1)
ATTEMPTS: Final = 80  # three days
DEFAULT_LEVEL: Final = "SINGLE_OPT_IN"
LEVELS: Final = frozenset({DEFAULT_LEVEL, CONFIRMED})
IN_FUTURE: Final = "must not be in the future"
UNKNOWN_CUSTOMER: Final = ("does not exist", "not found")

CLAIM = text("""
-- Returns wishes that are due, oldest first. Changes crm.write_backs: our lease, and the attempt.
-- Not while an earlier wish about the same customer may still be on its way.
-- Indexes ix_write_backs__due, ix_write_backs__customer.
UPDATE crm.write_backs AS wish
SET
    attempts = wish.attempts + 1,
    next_attempt_at = clock_timestamp() + :lease,
    error = NULL
WHERE
    wish.shop_id = :shop_id
    AND wish.write_back_id IN (
        SELECT due.write_back_id
        FROM crm.write_backs AS due
        WHERE
            due.shop_id = :shop_id
            AND due.state = 'queued'
            AND due.next_attempt_at <= clock_timestamp()
            AND NOT EXISTS (
                SELECT 1
                FROM crm.write_backs AS earlier
                WHERE
                    earlier.shop_id = due.shop_id
                    AND earlier.customer_id = due.customer_id
                    AND earlier.state = 'superseded'
                    AND earlier.next_attempt_at > clock_timestamp()
            )
        ORDER BY due.write_back_id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
RETURNING
    wish.write_back_id, wish.customer_id, wish.kind, wish.tag, wish.consent_state,
    wish.consent_level, wish.consent_at, wish.attempts
""")

READ_CUSTOMER = text("""
-- Returns whether we hold the customer, and what we last told Shopify of their consent.
-- Changes nothing. Indexes pk_customers, ix_write_backs__customer.
SELECT
    coalesce(customers.deleted_at IS NULL, false) AS is_there,
    (
        SELECT told.consent_at
        FROM crm.write_backs AS told
        WHERE
            told.shop_id = :shop_id
            AND told.customer_id = :customer_id
            AND told.kind = 'consent'
            AND told.consent_state = 'UNSUBSCRIBED'
            AND (told.state = 'done' OR (told.state = 'superseded' AND told.attempts > 0))
        ORDER BY told.write_back_id DESC
        LIMIT 1
    ) AS unsubscribed_at
FROM (VALUES (1)) AS once (n)
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = :customer_id
""")

UNSUBSCRIBED_AT = text("""
-- Returns since when this address is unsubscribed here; NULL: it is not. Changes nothing.
-- Primary key.
SELECT (
    SELECT suppressed_at
    FROM crm.suppressions
    WHERE
        shop_id = :shop_id
        AND email_normalized = lower(btrim(:email))
        AND reason = 'unsubscribed'
        AND lifted_at IS NULL
)
""")

SETTLE = text("""
-- Changes crm.write_backs: what became of it. One that was superseded meanwhile stays so, and holds
-- up its successor no longer. Primary key.
UPDATE crm.write_backs
SET
    state = CASE WHEN state = 'queued' THEN :state ELSE state END,
    error = :error,
    consent_at = coalesce(CAST(:consent_at AS timestamptz), consent_at),
    finished_at = CASE WHEN :state = 'queued' THEN finished_at ELSE :now END,
    next_attempt_at = CASE
        WHEN state = 'queued' AND :state = 'queued' THEN clock_timestamp() + :delay
    END
WHERE shop_id = :shop_id AND write_back_id = :write_back_id
""")


@dataclass(frozen=True)
class WriteReport:
    """Wishes by what became of them. `problem`: why Shopify could not be written to at all."""

    written: int = 0
    superseded: int = 0
    failed: int = 0
    postponed: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class _Outcome:
    state: WriteBackState
    error: str | None = None
    consent_at: datetime | None = None
    delay: timedelta = timedelta()


@dataclass(frozen=True)
class _Consent:
    """As Shopify has it now."""

    email: str
    state: str | None
    level: str | None
    updated_at: datetime | None


_GONE: Final = _Outcome(WriteBackState.SUPERSEDED, "The customer is gone.")


def write_due(
    factory: SessionFactory,
    client_of: Callable[[int], ShopifyClient],
    shop_id: int,
    *,
    clock: Clock,
) -> WriteReport:
    """Write up to `BATCH` wishes of a shop that are due. Several workers may run at once."""
    with session_scope(factory) as session:
        wishes = sorted(
            session.execute(CLAIM, {"shop_id": shop_id, "lease": LEASE, "limit": BATCH}).all(),
            key=lambda wish: wish.write_back_id,
        )
        now = business_clock(session.get_one(Shop, shop_id), clock).now()
    if not wishes:
        return WriteReport()
    writer = _Writer(factory, client_of, shop_id, now)
    outcomes = [writer.write(wish) for wish in wishes]
    states = [outcome.state for outcome in outcomes]
    return WriteReport(
        written=states.count(WriteBackState.DONE),
        superseded=states.count(WriteBackState.SUPERSEDED),
        failed=states.count(WriteBackState.FAILED),
        postponed=states.count(WriteBackState.QUEUED),
        problem=writer.problem,
    )


def retry_delay(attempts: int) -> timedelta:
    """30 seconds, 1, 2, 4 … minutes, at most an hour."""
    return min(FIRST_RETRY * (1 << min(attempts - 1, 20)), LONGEST_RETRY)


class _Writer:
    """The wishes of one claim. Once Shopify cannot be reached the rest wait without a call."""

    def __init__(
        self,
        factory: SessionFactory,
        client_of: Callable[[int], ShopifyClient],
        shop_id: int,
        now: datetime,
    ) -> None:
        self._factory = factory
        self._client_of = client_of
        self._shop_id = shop_id
        self._now = now
        self.problem: str | None = None

    def write(self, wish: Row[Any]) -> _Outcome:
        is_in_vain = self.problem is not None
        outcome = self._later(wish, self.problem or "") if is_in_vain else self._attempt(wish)
        with session_scope(self._factory) as session:
            self._settle(session, wish, outcome)
        return outcome

    def _attempt(self, wish: Row[Any]) -> _Outcome:
        try:
            with session_scope(self._factory) as session:
                known = session.execute(
                    READ_CUSTOMER, {"shop_id": self._shop_id, "customer_id": wish.customer_id}
                ).one()
            if not known.is_there:
                return _GONE
            client = self._client_of(self._shop_id)
            if wish.kind == WriteBackKind.CONSENT:
                return self._write_consent(client, wish, known.unsubscribed_at)
            return _write_tag(client, wish)
        except TransientError as error:
            self.problem = str(error)
            return self._later(wish, str(error))
        except AccessDeniedError:
            return _Outcome(WriteBackState.FAILED, CANNOT_WRITE)
        except PermanentError as error:
            return _Outcome(WriteBackState.FAILED, str(error))

    def _later(self, wish: Row[Any], words: str) -> _Outcome:
        if wish.attempts >= ATTEMPTS:
            return _Outcome(WriteBackState.FAILED, f"Given up after {wish.attempts} tries: {words}")
        return _Outcome(WriteBackState.QUEUED, words, delay=retry_delay(wish.attempts))

    def _settle(self, session: Session, wish: Row[Any], outcome: _Outcome) -> None:
        session.execute(
            SETTLE,
            {
                "shop_id": self._shop_id,
                "write_back_id": wish.write_back_id,
                "state": outcome.state.value,
                "error": outcome.error,
                "consent_at": outcome.consent_at,
                "delay": outcome.delay,
                "now": self._now,
            },
        )
        if outcome.state is WriteBackState.DONE:
            refresh.request(
                session,
                self._shop_id,
                ObjectType.CUSTOMER,
                [wish.customer_id],
                "written back",
                at=self._now,
            )

    def _write_consent(
        self, client: ShopifyClient, wish: Row[Any], unsubscribed_at: datetime | None
    ) -> _Outcome:
        held = _read_consent(client, wish.customer_id)
        if held is None:
            return _GONE
        with session_scope(self._factory) as session:
            left_at: datetime | None = session.execute(
                UNSUBSCRIBED_AT, {"shop_id": self._shop_id, "email": held.email}
            ).scalar_one()
        is_unsubscribed = left_at is not None
        if wish.consent_level is not None:
            reason = _why_not_confirm(held, wish.consent_at, left_at)
        elif wish.consent_state == ConsentState.UNSUBSCRIBED:
            reason = _why_not_unsubscribe(held, wish.consent_at, is_unsubscribed=is_unsubscribed)
        else:
            reason = _why_not_subscribe(held, unsubscribed_at, is_unsubscribed=is_unsubscribed)
        if reason is not None:
            return reason
        return _update_consent(client, wish, held)


def _why_not_unsubscribe(
    held: _Consent, left_at: datetime, *, is_unsubscribed: bool
) -> _Outcome | None:
    if not is_unsubscribed:
        return _Outcome(WriteBackState.SUPERSEDED, "Their address is not unsubscribed any more.")
    if held.state == ConsentState.UNSUBSCRIBED:
        if _is_same(held.updated_at, left_at):
            return _Outcome(WriteBackState.DONE)  # by us, before a crash
        return _Outcome(WriteBackState.SUPERSEDED, "They are unsubscribed at Shopify already.")
    is_later = held.updated_at is not None and held.updated_at > left_at
    if held.state == ConsentState.SUBSCRIBED and is_later:
        return _Outcome(WriteBackState.SUPERSEDED, "They subscribed at the shop since.")
    return None


def _why_not_subscribe(
    held: _Consent, unsubscribed_at: datetime | None, *, is_unsubscribed: bool
) -> _Outcome | None:
    """Only what we wrote is taken back."""
    if is_unsubscribed:
        return _Outcome(WriteBackState.SUPERSEDED, "Their address is unsubscribed again.")
    if held.state != ConsentState.UNSUBSCRIBED:
        return _Outcome(WriteBackState.SUPERSEDED, "They are not unsubscribed at Shopify.")
    if unsubscribed_at is None or not _is_same(held.updated_at, unsubscribed_at):
        return _Outcome(WriteBackState.SUPERSEDED, "They were unsubscribed at the shop, not by us.")
    return None


def _why_not_confirm(
    held: _Consent, confirmed_at: datetime, left_at: datetime | None
) -> _Outcome | None:
    """A click confirms the subscription that is there; it makes none."""
    if left_at is not None and left_at >= confirmed_at:
        return _Outcome(WriteBackState.SUPERSEDED, "Their address is unsubscribed since.")
    if held.state != ConsentState.SUBSCRIBED:
        return _Outcome(WriteBackState.SUPERSEDED, "They are not subscribed at Shopify.")
    if held.level == CONFIRMED:
        return _Outcome(WriteBackState.DONE)  # by us, before a crash, or at the shop
    return None


def _is_same(one: datetime | None, other: datetime) -> bool:
    """To the second, which is what Shopify keeps."""
    return one is not None and one.replace(microsecond=0) == other.replace(microsecond=0)


def _read_consent(client: ShopifyClient, customer_id: int) -> _Consent | None:
    """None when the customer is gone, or has no address."""
    ids = [gid.make("Customer", customer_id)]
    [node] = client.execute(load("customers_by_id", client.api_version), {"ids": ids})["nodes"]
    address = node and node["defaultEmailAddress"]
    if not address:
        return None
    return _Consent(
        email=address["emailAddress"],
        state=address["marketingState"],
        level=address["marketingOptInLevel"],
        updated_at=_time(address["marketingUpdatedAt"]),
    )


def _update_consent(client: ShopifyClient, wish: Row[Any], held: _Consent) -> _Outcome:
    """Dated when the person decided; where our clock is ahead of Shopify's, dated by Shopify."""
    consent = {
        "marketingState": wish.consent_state,
        "marketingOptInLevel": wish.consent_level or _level(held),
        "consentUpdatedAt": wish.consent_at.isoformat(timespec="seconds"),
    }
    answer = _mutate_consent(client, wish.customer_id, consent)
    if any(IN_FUTURE in error["message"] for error in answer["userErrors"]):
        del consent["consentUpdatedAt"]
        answer = _mutate_consent(client, wish.customer_id, consent)
    refused = _refusal(answer["userErrors"])
    if refused is not None:
        return refused
    address = (answer["customer"] or {}).get("defaultEmailAddress") or {}
    return _Outcome(WriteBackState.DONE, consent_at=_time(address.get("marketingUpdatedAt")))


def _level(held: _Consent) -> str:
    return held.level if held.level in LEVELS else DEFAULT_LEVEL


def _mutate_consent(
    client: ShopifyClient, customer_id: int, consent: dict[str, Any]
) -> dict[str, Any]:
    variables = {
        "input": {
            "customerId": gid.make("Customer", customer_id),
            "emailMarketingConsent": consent,
        }
    }
    data = client.execute(load("customer_consent_update"), variables)
    answer: dict[str, Any] = data["customerEmailMarketingConsentUpdate"]
    return answer


def _write_tag(client: ShopifyClient, wish: Row[Any]) -> _Outcome:
    is_added = wish.kind == WriteBackKind.ADD_TAG
    document, root = ("tags_add", "tagsAdd") if is_added else ("tags_remove", "tagsRemove")
    variables = {"id": gid.make("Customer", wish.customer_id), "tags": [wish.tag]}
    answer = client.execute(load(document), variables)[root]
    return _refusal(answer["userErrors"]) or _Outcome(WriteBackState.DONE)


def _refusal(errors: list[dict[str, Any]]) -> _Outcome | None:
    if not errors:
        return None
    words = "; ".join(error["message"] for error in errors)[:300]
    if any(part in words for part in UNKNOWN_CUSTOMER):
        return _GONE
    return _Outcome(WriteBackState.FAILED, f"Shopify refuses: {words}")


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
